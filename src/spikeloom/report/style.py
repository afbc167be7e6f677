"""Colours and the style sheet. A chart is drawn in the light colours; each becomes a CSS variable, so dark mode costs nothing.

Series: after the set of Okabe and Ito (2008), which stays apart for all common forms of colour blindness, darker where white letters stand
on it; levels: one blue ramp, ordered by lightness.
"""

# name: (light, dark); light values are unique, because the charts are recoloured by value
COLOURS = {
    "page": ("#fefefe", "#14181d"),
    "panel": ("#f4f6f8", "#1c2229"),
    "ink": ("#1b2330", "#e4e8ec"),
    "muted": ("#596573", "#9da9b5"),
    "rule": ("#d9dfe5", "#313a44"),
    "grid": ("#e7ebef", "#2a323b"),
    "axis": ("#a9b3be", "#55616d"),
    "warn": ("#a8480a", "#f2a36b"),
    "relu": ("#b4bcc5", "#5f6b77"),
    "s1": ("#0072b2", "#4aa8e0"),
    "s2": ("#d55e00", "#f28a42"),
    "s3": ("#009e73", "#2fc79c"),
    "s4": ("#b85c93", "#e59cc6"),
    "s5": ("#a87400", "#f0bd4d"),
    "s6": ("#3d8fc4", "#8fcff5"),
    "l1": ("#8dbfe3", "#2b5f8f"),
    "l2": ("#569fd3", "#3a80bd"),
    "l3": ("#2379b8", "#5aa5e2"),
    "l4": ("#0e5592", "#8cc4f2"),
    "l5": ("#082f63", "#c6e3fb"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
SERIES = tuple(LIGHT[f"s{i}"] for i in range(1, 7))
_PICKS = {1: (3,), 2: (2, 4), 3: (1, 3, 5), 4: (1, 2, 4, 5)}


def level_colours(levels: int) -> list[str]:
    """One colour per level, the lowest level lightest."""
    picks = _PICKS.get(levels) or [1 + round(4 * k / (levels - 1)) for k in range(levels)]
    return [LIGHT[f"l{i}"] for i in picks]


def _variables(which: int) -> str:
    return "".join(f"--{name}:{pair[which]};" for name, pair in COLOURS.items())


CSS = f"""
:root{{color-scheme:light dark;{_variables(0)}
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;
--serif:Charter,"Bitstream Charter","Iowan Old Style","Source Serif 4",Georgia,"Liberation Serif",serif;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}}
@media (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}
""" + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 var(--sans)}
main{max-width:1080px;margin:0 auto;padding:3rem 1.5rem 4rem}
h1,h2,h3{font-family:var(--serif);font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.75rem,1.2rem + 2.4vw,2.6rem);letter-spacing:-.012em;margin:.35rem 0 .75rem}
h2{font-size:1.45rem;margin:0 0 .35rem}
h3{font-size:1.1rem;margin:0 0 .3rem}
p{margin:0 0 .8rem;max-width:72ch}
a{color:var(--s1);text-underline-offset:.15em;text-decoration-thickness:1px}
code,pre{font-family:var(--mono);font-size:.86em}
section{border-top:1px solid var(--rule);margin-top:2.75rem;padding-top:1.5rem;scroll-margin-top:1rem}
.kicker,dt{font-size:.75rem;letter-spacing:.06em;text-transform:uppercase;color:var(--muted);font-weight:600}
.kicker{margin:0}
.lead{font-size:1.08rem;color:var(--muted);overflow-wrap:anywhere}
.lead b{color:var(--ink);font-weight:600}
.intro,.note{color:var(--muted)}
.note{font-size:.9rem;border-left:3px solid var(--rule);padding-left:.75rem;margin-top:.6rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;font-size:.92rem;margin-top:1.1rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.chips{display:flex;flex-wrap:wrap;gap:.4rem;margin:0 0 .8rem;padding:0;list-style:none}
.chips li{font:500 .82rem/1.5 var(--mono);background:var(--panel);border:1px solid var(--rule);border-radius:4px;padding:.05rem .5rem;
overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,9.5rem),1fr));gap:1.5rem 1.75rem;margin:1.25rem 0 1.75rem}
.tiles div{border-top:2px solid var(--rule);padding-top:.55rem}
.tiles .first{border-top-color:var(--s1)}
dd{margin:0}
.tiles .value{font:600 1.75rem/1.2 var(--sans);font-variant-numeric:tabular-nums;letter-spacing:-.015em;margin:.1rem 0 .2rem}
.tiles .first .value{color:var(--s1)}
.tiles.small{grid-template-columns:repeat(auto-fit,minmax(min(100%,7.6rem),1fr));gap:1.25rem}
.tiles.small .value{font-size:1.25rem}
.tiles .means{font-size:.84rem;line-height:1.4;color:var(--muted)}
.claim{border:1px dashed var(--axis);border-radius:6px;padding:1rem 1.25rem;display:grid;grid-template-columns:minmax(8rem,auto) 1fr;
gap:.2rem 1.75rem;align-items:center}
.claim .kicker{grid-column:1/-1}
.claim .kicker{font-size:.75rem}
.claim .value{font:italic 400 1.5rem/1.2 var(--serif);color:var(--muted)}
.claim p{font-size:.9rem;color:var(--muted);margin:0}
.failure{background:var(--panel);border-left:4px solid var(--warn);border-radius:0 6px 6px 0;padding:.9rem 1.2rem;margin:1.25rem 0}
.failure strong{color:var(--warn)}
.failure p{margin:.15rem 0 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,23rem),1fr));gap:1.75rem 2.25rem;align-items:start;
margin-top:1.1rem}
.charts>:last-child:nth-child(odd){grid-column:1/-1;display:grid;grid-template-columns:subgrid;align-items:center}
figure{margin:0;min-width:0}
.chart svg{display:block;width:100%;height:auto;max-width:34rem;margin:0 auto}
.chart svg *{stroke-linejoin:round;stroke-linecap:butt}
.chart svg text{font-family:var(--sans)!important;font-variant-numeric:tabular-nums}
figcaption{font-size:.88rem;line-height:1.45;color:var(--muted);margin-top:.5rem;max-width:34rem}
.chart figcaption{margin-left:auto;margin-right:auto}
figcaption b{color:var(--ink);font-weight:600}
.sample{display:grid;grid-template-columns:8rem repeat(2,minmax(0,1fr));gap:1rem 1.75rem;align-items:start;margin-top:1.75rem}
.picture img{width:8rem;height:8rem;object-fit:contain;image-rendering:pixelated;border:1px solid var(--rule);border-radius:4px;
background:#000;display:block}
.wrong{color:var(--warn);font-weight:600}
.right{color:var(--s3);font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0}
.scroll:focus-visible{outline:2px solid var(--s1);outline-offset:2px}
table{border-collapse:collapse;font-size:.88rem;line-height:1.4;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;color:var(--muted);font-size:.88rem;padding-bottom:.4rem}
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--grid);vertical-align:top}
th{font-weight:600;border-bottom-color:var(--axis);white-space:nowrap}
tbody th{border-bottom-color:var(--grid);font-weight:500;white-space:normal}
.results th:first-child{min-width:9.5rem}
.results tbody th{position:sticky;left:0;background:var(--page)}
.pass{overflow-wrap:anywhere;min-width:8rem}
td summary{padding:0;font-size:1em}
td .chips{margin:.4rem 0 0}
.number{text-align:right;white-space:nowrap}
th button{all:unset;cursor:pointer;font-weight:600}
th button:hover,th button:focus-visible{color:var(--s1);text-decoration:underline}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
.settings td,.settings th{overflow-wrap:anywhere}
.settings th{color:var(--muted);width:11rem}
.columns{columns:2 23rem;column-gap:2.25rem;margin-top:1rem}
.columns table{break-inside:avoid;margin-bottom:1.5rem}
.columns caption{color:var(--ink);font-weight:600;font-size:.95rem}
.formula{background:var(--panel);border-radius:6px;padding:.7rem 1rem;max-width:none;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--muted);font-size:.92rem;padding:.3rem 0}
summary:hover{color:var(--ink)}
.run{border-top:2px solid var(--ink);margin-top:3.5rem;padding-top:1rem;scroll-margin-top:1rem}
.run>summary{color:var(--ink);list-style-position:outside}
.run>summary h2{display:inline;font-size:1.7rem}
.title{font:600 1.15rem/1.4 var(--serif);margin:.6rem 0 .3rem}
.run>section:first-of-type{border-top:0;margin-top:.5rem}
.badge{display:inline-block;min-width:1.5em;text-align:center;border-radius:4px;color:var(--page);font:600 .85em/1.5 var(--sans);
padding:0 .3em;margin-right:.45em}
.key{display:flex;flex-wrap:wrap;gap:.4rem 1.4rem;list-style:none;margin:1rem 0 0;padding:0;font-size:.9rem}
pre{background:var(--panel);border-radius:6px;padding:1rem 1.25rem;overflow-x:auto;line-height:1.5;max-width:100%}
footer{margin-top:3rem;font-size:.84rem;color:var(--muted)}
@media (max-width:52rem){.sample{grid-template-columns:1fr}.picture{display:flex;gap:1rem;align-items:center}
.picture img{width:6rem;height:6rem;flex:none}}
@media (max-width:32rem){main{padding:1.75rem 1rem 3rem}.claim{grid-template-columns:1fr}
.tiles,.tiles.small{grid-template-columns:repeat(2,minmax(0,1fr));gap:1.1rem 1.1rem}.settings th{width:40%}}
@media print{figure,.tiles div{break-inside:avoid}main{padding:0;max-width:none}nav{display:none}}
"""
