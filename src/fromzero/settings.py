"""Wiring for Kedro; imported by nobody."""

from fromzero.config_loader import HydraConfigLoader
from fromzero.hooks import AttemptHooks, DevicesHooks, ManifestHooks, ModelHooks, SeedHooks, TrackingHooks

CONFIG_LOADER_CLASS = HydraConfigLoader
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}

HOOKS = (DevicesHooks(), ModelHooks(), SeedHooks(), ManifestHooks(), AttemptHooks(), TrackingHooks())

# Where it is installed it would write each run a second time, to a store that MLflow refuses.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow",)
