"""What outlives the process: the disposable cache and the user's decisions."""
