#!/usr/bin/env bash
# Runs every example, prints the output of those that fail, and then the numbers of passed and failed examples.

cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

passed=0
failed=0
for example in saas-platform agency business-units reseller; do
  if output=$(bash "$example.sh" 2>&1); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s\n' "$output" >&2
  fi
done
echo "$passed passed, $failed failed"
((failed == 0))
