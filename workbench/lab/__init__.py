"""JupyterLab: its start, the start page and the first look."""
