"""`./run_all.sh CONFIG --review`: people decide what the models leave open"""
