"""When a study runs again: cron lines, and timers of this machine."""
