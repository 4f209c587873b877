"""Benchmarks of one program and its peers: each command prints one JSON line with `seconds`, and they run in turns.

Where the machine is shared, the clock shows the others' work too; the CPU time a command used (`cpu_seconds`, over all its
threads) hardly does, and is printed beside it."""
import json
import statistics
import subprocess


def judge(what, value, sense, target, minima=None):
    """Prints a figure with its target (sense '<=' or '>='; target None: there is none) and returns both for the JSON.
    minima: the same figure from the best instead of the median samples, where it exists."""
    met = None if target is None else bool(value <= target if sense == '<=' else value >= target)
    aim = '' if target is None else f'target {"≤" if sense == "<=" else "≥"} {target:g}: {"met" if met else "MISSED"}'
    best = '' if minima is None else f'({minima:.3f} by minima)'
    print(f'  {what + ":":44}{value:10.4g}  {best:20}{aim}'.rstrip())
    return {'what': what, 'value': value, 'by_minima': minima, 'sense': sense, 'target': target, 'met': met}


def run_one(command):
    out = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def in_turns(runners, rounds):
    """runners: name → command. Returns name → {seconds: [...], cpu_seconds: [...], last: the last line}."""
    samples = {name: {'seconds': [], 'cpu_seconds': []} for name in runners}
    for _ in range(rounds):
        for name, command in runners.items():
            result = run_one(command)
            samples[name]['seconds'] += result['seconds']
            samples[name]['cpu_seconds'].append(result['cpu_seconds'])
            samples[name]['last'] = result
    return samples


def table(title, samples, columns):
    """Prints medians and ratios against the first runner. columns: heading → function of a runner's samples to text.
    Returns the figures."""
    first = next(iter(samples))
    median = {name: statistics.median(s['seconds']) for name, s in samples.items()}
    cpu = {name: statistics.median(s['cpu_seconds']) for name, s in samples.items()}
    print(title)
    print(f'{"":24}{"s":>9}{"min":>9}{"CPU s":>9}' + ''.join(f'{c:>12}' for c in columns) + f'{first + " is":>12}{"by CPU":>10}')
    figures = {}
    for name, s in samples.items():
        print(f'{name:24}{median[name]:9.3f}{min(s["seconds"]):9.3f}{cpu[name]:9.3f}'
              + ''.join(f'{cell(s):>12}' for cell in columns.values())
              + f'{median[name] / median[first]:10.2f} x{cpu[name] / cpu[first]:8.2f} x')
        figures[name] = {'median_s': median[name], 'min_s': min(s['seconds']), 'cpu_s': cpu[name],
                         'ratio': median[name] / median[first], 'cpu_ratio': cpu[name] / cpu[first]}
    return figures
