"""What the kernel tells: inotify queues, watched directories, discovery of repositories."""
