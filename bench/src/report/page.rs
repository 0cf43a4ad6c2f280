//! The frame around all: head, style, machine.

/// Colours have names, so that dark and light differ in one place.
const STYLE: &str = "
:root{--ink:#1b1f24;--soft:#5d6673;--paper:#fff;--line:#d9dee5;--panel:#f5f7fa;--kernel:#c2703d;
--user:#2563a8;--raw:#8a94a3;--goal:#1b1f24;--good:#1a7f4b;--bad:#b3312c;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa4b2;--paper:#14171c;--line:#333a45;
--panel:#1d2128;--kernel:#d98a58;--user:#5b9be0;--raw:#7b8594;--goal:#e6e9ee;--good:#4fc38a;--bad:#e8706a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.3rem;margin:2.5rem 0 .5rem}
h3{font-size:1.05rem;margin:1.8rem 0 .4rem}p{max-width:46rem}.soft{color:var(--soft);font-size:.9rem}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);vertical-align:bottom}th:first-child,td:first-child{text-align:left}
.wide{overflow-x:auto;margin:.5rem 0}.wide td{white-space:nowrap;vertical-align:top}
.wide td:first-child{white-space:normal;min-width:9rem}.wide th{min-width:4.5rem}
.wide td[colspan]{text-align:left}.good{color:var(--good)}.bad{color:var(--bad)}
.facts td{text-align:left;vertical-align:top;overflow-wrap:anywhere}.facts td:first-child{color:var(--soft);
white-space:nowrap}
.bars{font-size:.88rem;font-variant-numeric:tabular-nums}.bars .group{font-weight:600;margin-top:.7rem}
.bar{display:grid;grid-template:\"label drawing value\" auto/minmax(9rem,17rem) 1fr 11rem;gap:0 .8rem;
align-items:center;margin:.15rem 0}.bar svg{grid-area:drawing;width:100%;height:1.05rem;display:block;
background:var(--panel)}.bar .label{grid-area:label}.bar .value{grid-area:value;text-align:right}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem;margin:.4rem 0}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem;vertical-align:-.08rem}
.plot{max-width:36rem;width:100%;height:auto;display:block}.plot text{fill:var(--soft);font-size:14px}
details summary{cursor:pointer;color:var(--soft);margin:.5rem 0}
@media(max-width:38rem){.bar{grid-template:\"label value\" auto \"drawing drawing\" auto/1fr auto;
margin:.4rem 0}}
";

/// The whole page.
pub fn page(machine: &[(String, String)], sections: &str) -> String {
    let rows: Vec<_> =
        machine.iter().map(|(name, value)| vec![escape(name), escape(value)]).collect();
    let facts = rows.iter().map(|cells| row(cells)).collect::<Vec<_>>().concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Pagewire: measurements</title>\n<style>{STYLE}</style>\n\
         <h1>Pagewire: measurements</h1>\n\
         <p>Serving files over AF_XDP with a TCP stack of its own, and over the kernel's TCP: what each costs on \
         one machine, and what the machine allows at all.</p>\n{sections}\n\
         <h2>Machine, settings, source</h2>\n\
         <p class=\"soft\">As they were when this page was written.</p>\n\
         <table class=\"facts\">\n{facts}</table>\n</html>\n"
    )
}

/// Text that means itself in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A section with its command.
pub fn section(title: &str, about: &str, command: &str, content: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n<p class=\"soft\"><code>{}</code></p>\n{content}</section>\n",
        escape(title),
        escape(about),
        escape(command),
    )
}

/// A table whose first column is text. Cells may hold HTML.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<_> = head.iter().map(|name| format!("<th>{}", escape(name))).collect();
    let rows: Vec<_> = rows.iter().map(|cells| row(cells)).collect();
    let (head, rows) = (head.concat(), rows.concat());
    format!("<div class=\"wide\"><table><tr>{head}\n{rows}</table></div>\n")
}

fn row(cells: &[String]) -> String {
    format!("<tr><td>{}\n", cells.join("<td>"))
}
