//! Escaping by place.

use super::*;

#[test]
fn html_escapes_every_value_but_the_triple_ones() {
    let html = |source| render_at(source, Place::Html).unwrap();
    let escaped = "Ann &lt;b&gt;&amp; &#39;Co&#39;&lt;/b&gt;";
    for (source, text) in [
        ("<p>{{record.name}}</p>", format!("<p>{escaped}</p>")),
        ("{{record.name}}", escaped.to_owned()),
        ("<p>{{upper record.name}}</p>", format!("<p>{}</p>", escaped.to_uppercase().replace("&LT;", "&lt;").replace("&GT;", "&gt;").replace("&AMP;", "&amp;"))),
        ("<p>{{{record.name}}}{{&record.name}}</p>", "<p>Ann <b>& 'Co'</b>Ann <b>& 'Co'</b></p>".to_owned()),
        ("{{{record.name}}}", "Ann <b>& 'Co'</b>".to_owned()),
        ("{{record.tags}}", "[&quot;x&quot;,&quot;y&quot;]".to_owned()),
        ("<i>{{#each record.items}}{{json this}}{{/each}}</i>",
            "<i>{&quot;sku&quot;:&quot;A-1&quot;,&quot;qty&quot;:2}{&quot;sku&quot;:&quot;B/2&quot;,&quot;qty&quot;:1}</i>".to_owned()),
    ] {
        assert_eq!(html(source), json!(text), "{source}");
    }
    assert_eq!(html("{{record.total}}"), json!(1000));
}

#[test]
fn plain_escapes_nothing() {
    assert_eq!(render("<{{record.name}}>"), json!("<Ann <b>& 'Co'</b>>"));
}

#[test]
fn url_values_are_encoded_in_path_and_query() {
    let mut world = World::new();
    let url = |record: Value, source: &str| {
        let template = Template::compile(source, Place::Url).unwrap();
        let mut world = World::new();
        world.event.record = record;
        template.render(&world.scope(), &mut Vec::new())
    };
    for (source, value, text) in [
        ("https://h/{{record.x}}", "a/b?c#d e&ü", "https://h/a%2Fb%3Fc%23d%20e%26%C3%BC"),
        ("https://h/{{{record.x}}}", "a/b", "https://h/a%2Fb"),
        ("https://h?q={{record.x}}", "a&b=c", "https://h?q=a%26b%3Dc"),
        ("https://h?q={{urlencode record.x}}", "a&b", "https://h?q=a%26b"),
        ("{{urlencode record.x}}", "a&b", "a%26b"),
        ("https://h?q={{lower record.x}}", "A&B", "https://h?q=a%26b"),
        ("https://{{record.x}}/p", "eu.example.com:8443", "https://eu.example.com:8443/p"),
        ("https://{{record.x}}.example.com/{{record.x}}", "a-1", "https://a-1.example.com/a-1"),
        ("{{record.x}}", "https://evil/?a=b c", "https://evil/?a=b c"),
        (
            "{{record.x}}/orders?a={{record.x}}",
            "http://127.0.0.1:80/base",
            "http://127.0.0.1:80/base/orders?a=http%3A%2F%2F127.0.0.1%3A80%2Fbase",
        ),
        ("{{secrets.base}}/orders/{{record.x}}", "a/b", "https://api.example.com/v1/orders/a%2Fb"),
        ("/relative/{{record.x}}", "a/b", "/relative/a%2Fb"),
        ("https://h/{{#each record.list}}{{this}}{{/each}}", "", "https://h/"),
    ] {
        assert_eq!(url(json!({"x": value, "list": []}), source).unwrap(), json!(text), "{source}");
    }
    for (source, value) in [
        ("https://{{record.x}}/p", "evil.com/"),
        ("https://{{record.x}}.example.com/p", "evil.com/?"),
        ("https://{{record.x}}.example.com/p", "evil.com#"),
        ("https://{{record.x}}.example.com/p", "evil.com\\"),
        ("https://api.example.com{{record.x}}/p", "@evil.com"),
        ("{{record.x}}://h/p", "file:///etc"),
        ("{{record.x}}/p", "javascript:alert(1)"),
        ("{{record.x}}/p", "https://user:pw@evil.com"),
        ("{{record.x}}/p", "https://h\r\nX: y"),
        ("https://h/a/{{record.x}}/b", ".."),
        ("https://h/a/{{record.x}}{{record.x}}/b", "."),
    ] {
        let error = url(json!({"x": value}), source).expect_err(source);
        assert!(!error.contains("evil"), "values stay out of messages: {error}");
    }
    world.event.record = json!({"x": "a/b"});
    let template = Template::compile("https://{{record.x}}/", Place::Url).unwrap();
    let error = template.render(&world.scope(), &mut Vec::new()).unwrap_err();
    assert!(error.starts_with("`{{record.x}}`: "), "{error}");
}

#[test]
fn header_values_with_line_breaks_or_nul_are_refused_with_the_place_named() {
    for bad in ["a\rb", "a\nb", "a\0b"] {
        for (config, pointer) in [
            (json!({"headers": {"X-A": "v {{record.x}}"}}), "/headers/X-A"),
            (json!({"headers": {"X-A": "{{record.x}}"}}), "/headers/X-A"),
            (json!({"to": ["{{record.list}}"]}), "/to/0"),
            (json!({"to": "{{#each record.list}}{{this}}{{/each}}"}), "/to"),
        ] {
            let mut mistakes = Vec::new();
            let compiled = TemplatedConfig::compile(&config, "", &|_| Place::Header, &mut mistakes).unwrap();
            let mut world = World::new();
            world.event.record = json!({"x": bad, "list": ["ok", bad]});
            let mistake = compiled.render(&world.scope(), false).unwrap_err();
            assert_eq!(mistake.pointer, pointer);
            assert!(mistake.detail.contains("`{{"), "{mistake}");
        }
    }
    assert_eq!(render_at("v {{record.name}}", Place::Header).unwrap(), json!("v Ann <b>& 'Co'</b>"));
}

#[test]
fn each_string_has_its_own_place() {
    let config = json!({"html": "{{record.name}}", "plain": "{{record.name}}"});
    let place = |pointer: &str| {
        if pointer == "/html" { Place::Html } else { Place::Plain }
    };
    let compiled = TemplatedConfig::compile(&config, "/x", &place, &mut Vec::new()).unwrap();
    let rendered = compiled.render(&World::new().scope(), true).unwrap().config;
    assert_eq!(rendered["plain"], json!("Ann <b>& 'Co'</b>"));
    assert!(!rendered["html"].as_str().unwrap().contains('<'));
}
