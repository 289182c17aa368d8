"""What lies in Optuna's database: trials, attempts, heartbeats, samplers and pruners."""
