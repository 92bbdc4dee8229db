"""How a run stops for a person, and goes on.

- `asking`: a call that may need somebody: make it, close everything, ask, make it again
- `graph`: LangGraph's `interrupt()` and its answers; the only module that imports `langgraph`
- `payloads`: what an interrupt shows; `answers`: what comes back
- `eliciting`: a server's own questions
- `reporting`: what a server says while it works, into the run's stream
"""
