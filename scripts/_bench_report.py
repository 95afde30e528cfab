"""The tables of ``scripts/bench``."""

from __future__ import annotations

from typing import Any

from _bench_triangle_report import lines as triangle_lines


def table(report: dict[str, Any]) -> str:
    """Return a report as text."""
    machine = report["machine"]
    load, kernels = machine["load_average"], machine["blas_kernels_asked_for"]
    asked = f" (OPENBLAS_CORETYPE={kernels})" if kernels else ""
    lines = [
        f"{machine['processor']}, {machine['usable_processors']} usable processors, {machine['threads']} threads, "
        f"{machine['device']}, {machine['platform']}",
        f"BLAS: {machine['blas']}{asked}; load {load['before']:.1f} to {load['after']:.1f}",
        " ".join(f"{name} {number}" for name, number in machine["versions"].items()),
    ]
    for name, section in report["sections"].items():
        lines += ["", f"{name}: {section.get('what', 'where the time goes')}"]
        if "cases" in section:
            lines += _cases(section["cases"])
        if "runs" in section:
            lines += _library(section)
        if "parts" in section:
            lines += _profile(section)
        if "exponents" in section:
            lines += triangle_lines(section)
        lines += [f"left out: {peer} ({why})" for peer, why in section.get("left_out", {}).items()]
    return "\n".join(lines) + "\n"


def _cases(cases: list[dict[str, Any]]) -> list[str]:
    lines = []
    for case in cases:
        for way, seconds in case["seconds"].items():
            line = f"  {case['case']:<42} {way:<15} {_duration(seconds)}"
            if way in case["times_faster"]:
                line += _ratio(case["times_faster"][way])
            lines.append(line)
    return lines


def _ratio(ratio: dict[str, Any]) -> str:
    spread = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
    text = f"   {ratio['median']:6.2f} x ours ({spread}; by processor time {ratio['by_cpu_time']:.2f})"
    if ratio["goal"] is None:
        return text
    return f"{text}, goal {ratio['goal']:g}: {_verdict(ratio['median'] >= ratio['goal'])}"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _duration(seconds: dict[str, Any]) -> str:
    scale, unit = (1e3, "ms") if seconds["median"] < 1 else (1, "s ")
    middle, low, high = (scale * seconds[key] for key in ("median", "low", "high"))
    return f"{middle:9.2f} {unit} ({low:.2f} to {high:.2f})"


def _library(section: dict[str, Any]) -> list[str]:
    lines = [
        f"  {row['records']:>7,} records {row['seconds']:8.1f} s {row['peptides_per_second']:7.0f} peptides/s "
        f"(processor {row['cpu_seconds']:.1f} s) {row['peak_bytes'] / 1e6:7.0f} MB"
        for row in section["runs"]
    ]
    if section["goals"]:
        rate, growth = section["runs"][-1]["peptides_per_second"], section["memory_growth"]
        wanted, most = section["goals"]["peptides_per_second"], section["goals"]["memory_growth"]
        lines.append(
            f"  goal {wanted} peptides/s: {_verdict(rate >= wanted)}; "
            f"memory {growth:+.0%}, goal {most:.0%}: {_verdict(growth <= most)}"
        )
    return lines


def _profile(section: dict[str, Any]) -> list[str]:
    lines = [f"  matrix product 1024 x 1024 x 1024: {section['matmul_flops'] / 1e9:.0f} GFLOP/s"]
    for part in section["parts"]:
        lines += ["", f"  {part['what']}: {1e3 * part['seconds']:.1f} ms", ""]
        lines += [
            "  | | ms | share | GFLOP | MB | GFLOP/s | of the matrix rate |",
            "  |---|---|---|---|---|---|---|",
        ]
        for row in part["rows"]:
            cells = [row["name"], f"{1e3 * row['seconds']:.1f}", f"{row['seconds'] / part['seconds']:.0%}"]
            cells += [
                f"{row['flops'] / 1e9:.2f}" if row["flops"] else "",
                f"{row['bytes'] / 1e6:.0f}" if row["bytes"] else "",
            ]
            if row["flops"]:
                rate = row["flops"] / row["seconds"]
                cells += [f"{rate / 1e9:.0f}", f"{rate / section['matmul_flops']:.0%}"]
            else:
                cells += ["", ""]
            lines.append(f"  | {' | '.join(cells)} |")
    return lines
