-- wrk script: posts each body with each key. The first argument is a file with one key per line, and the second is a
-- file with one body per line. Each thread begins with a different request. Prints latencies in microseconds as JSON.
local threads = 0

function setup(thread)
  thread:set("offset", threads * 17)
  threads = threads + 1
end

function init(args)
  requests = {}
  for body in io.lines(args[2]) do
    for key in io.lines(args[1]) do
      local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }
      requests[#requests + 1] = wrk.format("POST", "/graphql", headers, body)
    end
  end
  at = offset
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "max": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
