"""How the page looks: light and dark, wide and narrow."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#59636e;--line:#d1d9e0;
--card:#f6f8fa;--good:#1a7f37;--warning:#9a6700;--bad:#cf222e;--unknown:#59636e;
--s0:#0969da;--s1:#bc4c00;--s2:#1a7f37;--s3:#8250df;--s4:#bf3989;--s5:#4d4d4d}
@media(prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;
--line:#3d444d;--card:#161b22;--good:#3fb950;--warning:#d29922;--bad:#f85149;--unknown:#9198a1;
--s0:#58a6ff;--s1:#f0883e;--s2:#3fb950;--s3:#bc8cff;--s4:#ff7eb6;--s5:#c9d1d9}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:auto;padding:1rem}
h1{margin:.5rem 0 0;overflow-wrap:anywhere}h2{margin:2rem 0 .5rem}h3{margin:1.5rem 0 0}
.cards{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-left:.4rem solid var(--unknown);
border-radius:.4rem;padding:.6rem .8rem;overflow-wrap:anywhere}
.card h2{margin:0;font-size:1rem}.card p{margin:.25rem 0 0}
.good{border-left-color:var(--good)}.good b{color:var(--good)}
.warning{border-left-color:var(--warning)}.warning b{color:var(--warning)}
.bad{border-left-color:var(--bad)}.bad b{color:var(--bad)}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
figure{margin:0;min-width:0}figcaption{font-weight:600}
figure svg{width:100%;height:auto;display:block}
svg text{font:14px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.s0{stroke:var(--s0)}.s1{stroke:var(--s1);stroke-dasharray:9 4}
.s2{stroke:var(--s2);stroke-dasharray:2 4}.s3{stroke:var(--s3);stroke-dasharray:12 3 2 3}
.s4{stroke:var(--s4);stroke-dasharray:5 5}.s5{stroke:var(--s5);stroke-dasharray:1 6}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:0;padding:0;
color:var(--soft)}
.legend svg{width:2rem;height:.7rem;display:inline-block;margin-right:.4rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.15rem .5rem;border-bottom:1px solid var(--line);font-weight:400}
thead th{font-weight:600}
.heat th[scope=row]{font-size:.85rem;overflow-wrap:anywhere;width:34%}
.strip{width:48%}
.strip img,.scale img{display:block;width:100%;height:1rem;image-rendering:pixelated;
border-radius:2px}
.scale{display:flex;gap:.5rem;align-items:center;margin:.25rem 0;color:var(--soft)}
.scale img{width:10rem}
.heat td:last-child{width:18%;white-space:nowrap}
dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.25rem 1rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--card);padding:.8rem;border-radius:.4rem}
summary{cursor:pointer}
"""
