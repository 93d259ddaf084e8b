"""The command line `mca`: one file per group of commands; heavy imports only inside commands."""
