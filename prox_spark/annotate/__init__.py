"""Asking a large model: prompts, a client for OpenAI-compatible endpoints, and reading what comes back. No Spark."""

from __future__ import annotations
