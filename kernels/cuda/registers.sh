#!/bin/sh
# registers.sh LOG...: a row for each kernel and architecture that ptxas -v speaks of.
echo
echo '| kernel | chip | registers | stack | spilled (store, load) |'
echo '| --- | --- | --- | --- | --- |'
cat "$@" | awk '
    /Compiling entry function/ { split($0, q, "\047"); name = q[2]; chip = q[4] }
    /bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
    /Used [0-9]+ registers/ { for (i = 1; i <= NF; i++) if ($i == "Used") print "| " name " | " chip " | " $(i + 1) " | " stack " | " stores ", " loads " |" }
' | sort
