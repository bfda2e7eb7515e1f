"""Answers what Python's own library makes of a text: one JSON request a line, one answer a line."""

import configparser
import io
import json
import shlex
import sys


def ini(request):
    """Every section's keys, raw and interpolated, or null when the file is refused."""
    parser = configparser.ConfigParser()
    # As from a file: universal newlines.
    text = io.TextIOWrapper(io.BytesIO(request["text"].encode()), encoding="utf-8")
    try:
        parser.read_file(text)
    except configparser.Error:
        return None
    found = {}
    for section in [parser.default_section, *parser.sections()]:
        found[section] = {}
        for key in parser[section]:
            raw = parser.get(section, key, raw=True)
            try:
                value = parser.get(section, key)
            except configparser.Error:
                value = None
            found[section][key] = [raw, value]
    return found


def checker(request):
    """The command line, or null when the template is refused."""
    values = {key: shlex.quote(value) for key, value in request["values"].items()}
    try:
        return request["text"] % values
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


for line in sys.stdin:
    request = json.loads(line)
    answer = {"ini": ini, "checker": checker}[request["what"]](request)
    print(json.dumps(answer), flush=True)
