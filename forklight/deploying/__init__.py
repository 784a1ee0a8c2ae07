"""How a running server comes to serve another release of an application, and goes back.

- `deploys.py`: deploys, rollbacks and canaries; `ahead.py`: what a deploy does outside its turns; `progress.py`: their
  steps, as they are reported; `results.py`: what comes of them
- `environments.py`: environments of runtimes, for deployed applications
- `probing.py`: the events that a new release has to do well with
- `kept.py`: reads what is kept and does not serve; `warm.py`: templates kept for a rollback
- `canary.py`: when a canary is aborted by itself
"""
