"""Every error that prox_spark raises on purpose: one root, each subclass says when it is raised."""

from __future__ import annotations


class ProxError(Exception):
    """Root of all errors raised on purpose; catch this to catch them all."""


class ConfigError(ProxError):
    """Raised when a setting is unknown, has a wrong value, or contradicts another one."""


class SourceError(ProxError):
    """Raised when the source cannot be read, or lacks a column that the settings name."""


class SchemaError(ProxError):
    """Raised when a table or a source has columns whose names or types do not fit what is declared."""


class BundleError(ProxError):
    """Raised when a bundle is missing, incomplete, tampered with, or of a kind that this version cannot read."""


class DeviceError(ProxError):
    """Raised when the device that was asked for cannot be had; says whether wheel, driver or address is missing."""


class EngineError(ProxError):
    """Raised when a model's graph cannot be run, or gives outputs of a shape that the bundle does not promise."""


class PreflightError(ProxError):
    """Raised when the refiner's programs for a sample of the source are outside the bundle's bounds."""


class EndpointError(ProxError):
    """Raised when an endpoint that is to be asked cannot be reached, or refuses the key, the model or the address."""


class ErrorBudgetExceeded(ProxError):
    """Raised when more documents failed than the settings allow."""


class BusyError(ProxError):
    """Raised when other runs are at work on the same tables, and this one gives way to them."""


class StorageError(ProxError):
    """Raised when a disk that tables, progress or Spark's own files are on is full."""


class PolicyError(ProxError):
    """Raised when a policy or one of its guards is unknown or has an impossible value."""
