def run(report, processes): pass
