"""What a call costs, beside what other clients pay for the same work. `python -m benchmarks --help` says how.

- `server`: one fast protected MCP server for all, both protocol eras, in a process of its own
- `subjects`: the clients that are compared, each as a few lines
- `worker`: a process that holds one subject and does as it is told, one JSON line at a time
- `processes`: starts both, each on a core of its own
- `calls`, `users`, `catalogue`, `expiry`, `imports`: what is measured
- `results`: ratios, medians, spread, targets
- `report`: the tables and the plots in `docs/`
- `profile`, `spin`: where the time of one call goes
"""
