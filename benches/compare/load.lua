-- Goes through the token list, one request per token, over and over, for the path of the URL; every request has the same User-Agent.
-- The settings come by environment, since wrk asks for delay() before it passes any argument on.

local requests, next_one = {}, 0

function init()
  for token in io.lines(os.getenv("COMPARE_TOKENS")) do
    local headers = { ["Authorization"] = "Bearer " .. token, ["User-Agent"] = os.getenv("COMPARE_USER_AGENT") }
    requests[#requests + 1] = wrk.format("GET", nil, headers)
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

-- Think time per connection, uniform between nothing and twice the mean: the run at about half load.
local longest = tonumber(os.getenv("COMPARE_LONGEST_DELAY_MS") or "0")
if longest > 0 then
  function delay()
    return math.random(0, longest)
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "bytes": %d, "micros": %d, "p50": %d, "p99": %d, "non_2xx": %d, "broken": %d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
