"""What the scripts share; standard library only, but for the moments in which a server is asked whether it serves."""
