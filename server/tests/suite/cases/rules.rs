//! What the rules of a site do to responses. The rules are in `target`.

use super::{
    After::GoesOn,
    Asked::{Raw, Site},
    Case,
};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("9111 §5.2", Site("/site.txt", ""), 200, &["cache-control: no-cache", "x-frame-options: SAMEORIGIN", "x-content-type-options: nosniff", "strict-transport-security: max-age=31536000; includeSubDomains", "x-rule: all", "server: pagewire"], "=ruled\n", GoesOn),
    ("9111 §5.2", Site("/assets/a.js", ""), 200, &["cache-control: public, max-age=31536000, immutable", "access-control-allow-origin: *", "!vary", "x-rule: assets", "content-type: text/javascript; charset=utf-8"], "=asset\n", GoesOn),
    ("9110 §15.4.5", Site("/assets/a.js", "If-None-Match: *"), 304, &["cache-control: public, max-age=31536000, immutable", "access-control-allow-origin: *"], "=", GoesOn),
    ("9110 §15.3.7", Site("/assets/a.js", "Range: bytes=0-0"), 206, &["cache-control: public, max-age=31536000, immutable", "access-control-allow-origin: *"], "=a", GoesOn),
    ("9111 §5.2", Site("/assets/nothing.js", ""), 404, &["!cache-control", "access-control-allow-origin: *", "x-rule: assets"], "<p>nothing", GoesOn),
    ("9110 §5.1", Site("/bare/x.txt", ""), 200, &["!server", "!last-modified", "!accept-ranges", "!x-frame-options", "x-rule: all"], "=bare\n", GoesOn),
    ("9110 §8.3", Site("/page.custom", ""), 200, &["content-type: text/x-custom; charset=utf-8"], "=custom\n", GoesOn),
    ("9110 §8.3", Site("/cyrillic/x.txt", ""), 200, &["content-type: text/plain; charset=koi8-r"], "=x\n", GoesOn),
    ("9110 §8.3", Site("/indexed/", ""), 200, &["content-type: text/html; charset=utf-8"], "=index htm\n", GoesOn),
    // Pages for errors.
    ("9110 §15.5", Site("/nothing", ""), 404, &["content-type: text/html; charset=utf-8", "x-rule: all", "content-length: 11"], "=<p>nothing\n", GoesOn),
    ("9110 §15.5", Site("/x/%zz", ""), 400, &["content-type: text/plain; charset=utf-8", "x-rule: all"], "400", GoesOn),
    ("9110 §15.5", Raw("HEAD /nothing HTTP/1.1\r\nHost: ruled.test\r\n\r\n"), 404, &["content-type: text/html; charset=utf-8", "content-length: 11"], "", GoesOn),
    ("9110 §15.5", Raw("PUT /x HTTP/1.1\r\nHost: ruled.test\r\n\r\n"), 405, &["x-rule: all", "allow: GET, HEAD, OPTIONS"], "405", GoesOn),
    ("9110 §15.5", Site("/.hidden", ""), 404, &["content-type: text/html; charset=utf-8"], "=<p>nothing\n", GoesOn),
    ("9110 §15.5", Site("/open/.visible", ""), 200, &[], "=visible\n", GoesOn),
    ("9110 §15.5", Site("/unlisted/", ""), 403, &[], "403", GoesOn),
    ("9110 §15.5", Site("/links/link.txt", ""), 404, &[], "<p>nothing", GoesOn),
    ("9110 §15.5", Site("/links/real.txt", ""), 200, &[], "=real\n", GoesOn),
    // Redirects.
    ("9110 §15.4.9", Site("/old/a%20b/c?x=y", ""), 308, &["location: /new/a%20b/c?x=y"], "308", GoesOn),
    ("9110 §15.4.9", Site("/old/", ""), 308, &["location: /new/"], "308", GoesOn),
    ("9110 §15.4.3", Site("/there?x", ""), 302, &["location: https://there.test/there?from=here", "cache-control: no-cache"], "302", GoesOn),
    ("9110 §15.4.4", Site("/303", ""), 303, &["location: /site.txt"], "303", GoesOn),
    ("9110 §15.4.8", Site("/307", ""), 307, &["location: /site.txt"], "307", GoesOn),
    ("9110 §15.4", Raw("HEAD /307?q HTTP/1.1\r\nHost: ruled.test\r\n\r\n"), 307, &["location: /site.txt?q"], "", GoesOn),
    ("9110 §15.4", Raw("POST /old/x HTTP/1.1\r\nHost: ruled.test\r\n\r\n"), 405, &["!location"], "405", GoesOn),
    ("9110 §10.2.2", Site("/old/%0d%0aX:%20y", ""), 308, &["location: /new/%0D%0AX:%20y", "!x"], "308", GoesOn),
    ("9110 §10.2.2", Site("/old//evil.test/", ""), 308, &["location: /new/evil.test/"], "308", GoesOn),
    // CORS.
    ("Fetch §3.2.3", Site("/api/x.json", "Origin: https://app.test"), 200, &["access-control-allow-origin: https://app.test", "access-control-allow-credentials: true", "access-control-expose-headers: ETag", "vary: Origin"], "={}\n", GoesOn),
    ("Fetch §3.2.3", Site("/api/x.json", "Origin: https://evil.test"), 200, &["!access-control-allow-origin", "vary: Origin"], "={}\n", GoesOn),
    ("Fetch §3.2.3", Site("/api/x.json", "Origin: null"), 200, &["!access-control-allow-origin"], "={}\n", GoesOn),
    ("Fetch §3.2.3", Site("/api/x.json", "Origin: https://app.test|Origin: https://app.test"), 200, &["!access-control-allow-origin"], "={}\n", GoesOn),
    ("Fetch §3.2.3", Site("/api/x.json", ""), 200, &["!access-control-allow-origin", "vary: Origin"], "={}\n", GoesOn),
    ("Fetch §3.2.3", Site("/api/x.json", "Origin: https://app.test|If-None-Match: *"), 304, &["access-control-allow-origin: https://app.test", "vary: Origin"], "=", GoesOn),
    ("Fetch §3.2.3", Site("/api/nothing", "Origin: https://app.test"), 404, &["access-control-allow-origin: https://app.test", "vary: Origin"], "<p>nothing", GoesOn),
    ("Fetch §3.2.2", Raw("OPTIONS /api/x.json HTTP/1.1\r\nHost: ruled.test\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-token\r\n\r\n"), 204, &["access-control-allow-origin: https://app.test", "access-control-allow-methods: GET, HEAD, OPTIONS", "access-control-allow-headers: X-Token", "access-control-max-age: 600", "access-control-allow-credentials: true", "vary: Origin", "!content-length"], "=", GoesOn),
    ("Fetch §3.2.2", Raw("OPTIONS /api/x.json HTTP/1.1\r\nHost: ruled.test\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"), 204, &["!access-control-allow-origin", "!access-control-allow-methods"], "=", GoesOn),
    ("Fetch §3.2.2", Raw("OPTIONS /assets/a.js HTTP/1.1\r\nHost: ruled.test\r\nOrigin: https://any.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"), 204, &["access-control-allow-origin: *", "access-control-allow-methods: GET, HEAD, OPTIONS"], "=", GoesOn),
    ("Fetch §3.2.2", Raw("OPTIONS /assets/a.js HTTP/1.1\r\nHost: ruled.test\r\n\r\n"), 204, &["access-control-allow-origin: *", "!access-control-allow-methods"], "=", GoesOn),
    ("Fetch §3.2.2", Raw("OPTIONS /site.txt HTTP/1.1\r\nHost: ruled.test\r\nOrigin: https://any.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"), 204, &["!access-control-allow-origin", "allow: GET, HEAD, OPTIONS"], "=", GoesOn),
];
