"""The endpoints of the distribution specification: functions from a call to a response.

A function gets the Registry and a Call, and returns a Response or raises a Problem. routes.py has the
table of all of them.
"""
