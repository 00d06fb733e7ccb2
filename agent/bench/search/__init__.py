"""Does the search learn? Memory against none in a world whose truth is known, and policies on recorded measurements.

``world.py`` is the synthetic world with its parameters, ``actors.py`` its model and its judge; ``trial.py`` drives the real
loop, policies and memory through it, ``synthetic.py`` compares. ``recording.py``, ``record.py`` and ``replay.py`` do the same
with every configuration of the playbook, judged once on a real device. ``docs/search-proof.md`` says what was found.
"""
