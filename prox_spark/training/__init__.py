"""From labelled pages to a refiner: data → model → train → export → evaluate. Needs the ``train`` extra, but for
``metrics`` and ``evaluate``, which run a finished bundle."""
