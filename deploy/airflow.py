"""Retrain each night on Airflow (2.4 or later): docs/nightly.md as a DAG. Compiled by the tests, not run on Airflow.

Airflow retries a step: `train --resume` goes on where the last try ended, and the others begin again.
"""

import pendulum
from airflow import DAG
from airflow.operators.bash import BashOperator

DAY = "{{ ds }}"
STEPS = {
    "prepare": f"multitudes prepare shop/data --out shop/prepared-{DAY}"
    " --served releases.service/logs/served --events releases.service/logs/events",
    "train": f"multitudes train shop/prepared-{DAY} --out shop/run-{DAY} --resume",
    "publish": f"multitudes publish shop/run-{DAY} --to releases --gate 0.05",
}

with DAG("multitudes", schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False, max_active_runs=1):
    before = None
    for name, command in STEPS.items():
        step = BashOperator(task_id=name, bash_command=command, cwd="/srv/multitudes", retries=1)
        if before is not None:
            before >> step
        before = step
