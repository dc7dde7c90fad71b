"""`make chaos`: real tuma processes on a real server and sandbox, killed and frozen, judged by what providers took.

plan.py       what follows from the seed: bills, customers, kills, freezes, outages
city.py       the sandbox in a process of its own, with the customers who pay
machines.py   the server and the processes of every role, started again whenever they end
reaper.py     kills, freezes and outages, as planned
feeder.py     share jobs over HTTP and into the inbox, told again until they are taken
run.py        one run: storm, calm, and until all is at rest
evidence.py   what tuma says and what the providers took, side by side
judge.py      what must not have happened, and how often it did
report.py     the proof as a page and as JSON; the life of a message that went wrong

python -m tests.chaos --seed 7
"""
