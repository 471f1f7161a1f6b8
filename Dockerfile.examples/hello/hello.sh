#!/bin/sh
echo "$GREETING"
echo "This is $(uname -s) in a container, process $$ of its own world."
