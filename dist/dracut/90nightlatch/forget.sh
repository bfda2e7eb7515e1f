#!/bin/sh
# A shell is about to open for whoever sits there: no key is left for it.

rm -rf /conf/conf.d/nightlatch
