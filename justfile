# Shortcuts for development: https://just.systems. Each recipe is a few ordinary commands.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes
_default:
    @just --list --unsorted

# Check format, lints and unit tests: less than two minutes after the first build
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --lib --locked

# Run the tests whose names contain NAME, on SQLite and PostgreSQL: just test billing::
test NAME:
    cargo test --locked --test api {{ quote(NAME) }}

# Run the tests whose names contain NAME, on PostgreSQL only
test-pg NAME:
    cargo test --locked --test api {{ quote(NAME) }} -- --skip ::sqlite

# Run the commands that README.md and docs print, and compare the results
docs:
    cargo build --locked
    TOLLGATE="${CARGO_TARGET_DIR:-target}/debug/tollgate" python3 tests/documents/check.py

# Write schema.graphql from the program
schema:
    cargo build --locked
    cargo run --locked --quiet -- schema >schema.graphql

# Check licences, versions, sources and advisories of the dependencies (needs cargo-deny and the network)
deny:
    cargo deny check

# Run everything that must pass before a merge: about 33 minutes on 2 cores
ci:
    bash .ci/run
