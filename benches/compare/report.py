"""How the figures are shown: one table, as Markdown or in columns, and below it the conditions they were taken under."""

import os
import platform
import re
import statistics
import subprocess


def shown(settings, heads, rows, conditions):
    """Prints the table. The first column is text, the others are figures."""
    if settings.markdown:
        lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
        print("\n".join("| " + " | ".join(line) + " |" for line in lines))
    else:
        widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
        for line in [heads, *rows]:
            cells = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
            print("  ".join(cells))
    bullet = "- " if settings.markdown else "  "
    print("\n" + "\n".join(bullet + line for line in conditions))


def said(*command):
    """What a program says of itself in the first line, without the rest that some append."""
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        return "missing"
    line = (ended.stdout.splitlines() or ["?"])[0].strip()
    return re.split(r" Copyright| \(x86|  ?\(Library| 20\d\d/", line)[0]


def machine(where):
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return f"{cpu}, {os.cpu_count()} cores; Linux {platform.release()}; {where}"


def versions(settings, *others):
    """Of the targets that were chosen, and of `others`, which are commands."""
    programs = {t.program for t in settings.chosen}
    lines = []
    if "nginx" in programs:
        lines.append(said("nginx", "-v"))
    if "haproxy" in programs:
        lines.append(said("haproxy", "-v"))
    if "caddy" in programs:
        lines.append("caddy " + said("caddy", "version"))
    if "gateway" in programs:
        lines.append(said(settings.gateway, "--version"))
    return "; ".join(lines + [said(*command) for command in others])


def most_stolen(results):
    return max(run["stolen"] for runs in results.values() for run in runs)


def rounds(settings, results, by_whom="by the host or other programs"):
    return (
        f"medians of {settings.rounds} interleaved rounds of {settings.seconds} s after {settings.warmup} s of warm-up; "
        f"at most {most_stolen(results):.0%} of core 0 taken {by_whom}"
    )


def span(runs, key, digits=2):
    values = [run[key] for run in runs]
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def cost(target, results):
    """The first cells of a target's row: its name, its processor time, from where to where, and beside the first target."""
    runs = results[target.letter]
    middle = statistics.median(run["cpu_us"] for run in runs)
    name = f"{target.letter}  {target.title}"
    return [name, f"{middle:.2f}", span(runs, "cpu_us"), ratio(runs, results.get("a"), "cpu_us")]


def ratio(runs, bare, key):
    """The median of the ratios within each round: what stands close in time suffers least from a machine that changes
    its speed."""
    if not bare:
        return "-"
    ratios = sorted(mine[key] / its[key] for mine, its in zip(runs, bare))
    middle = len(ratios) // 2
    value = ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    return f"{value:.2f}"
