"""What turns a kernel's text into something that runs: one module a language, behind one Protocol."""
