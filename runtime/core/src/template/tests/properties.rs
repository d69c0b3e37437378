//! Properties that hold for all templates and values.

use proptest::prelude::*;

use super::*;

/// Pieces from which both sense and nonsense can be put together.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{#if ",
        "{{#each ",
        "{{#with ",
        "{{/if}}",
        "{{/each}}",
        "{{/with}}",
        "{{else}}",
        "{{else if ",
        "{{^}}",
        "{{~",
        "~}}",
        "{{!",
        "{{!--",
        "--}}",
        "{{{{",
        "}}}}",
        "\\{{",
        "\\\\{{",
        "{{>",
        "{{#*",
        "{{&",
        "record",
        ".items",
        ".name",
        "[0]",
        "[\"a b\"]",
        ".[x]",
        "this",
        "../",
        "@index",
        "@root.",
        "./",
        " ",
        "\n",
        "(",
        ")",
        "\"",
        "'",
        "'a'",
        "5",
        "-1.5e3",
        "lower ",
        "add ",
        "default ",
        "date ",
        "number ",
        "json ",
        "join ",
        "lookup ",
        "truncate ",
        "hmacSha256 ",
        "eq ",
        "uuid",
        "now",
        "tz=",
        "format=",
        "as |a b|",
        "|",
        "=",
        "true",
        "null",
        "secrets.KEY",
        "secrets",
        "actions.x.output",
        "text",
        "ü",
        "\u{0}",
        "<",
        "&",
        "[",
        "]",
        ",",
        "{",
        "}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Templates that mostly compile.
fn sensible() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{{record.x}}",
        "{{{record.x}}}",
        "text <b>",
        "{{lower record.x}}",
        "{{#each record.list}}{{this}}{{else}}none{{/each}}",
        "{{#if record.x}}{{record.y}}{{/if}}",
        "{{json record}}",
        "{{default record.x record.y}}",
        "{{add record.x record.y}}",
        "{{number record.y '0,0.00'}}",
        "{{date record.x '%F'}}",
        "{{truncate record.x 3}}",
        "{{join record.list record.x}}",
        "{{length record.y}}",
        "{{base64 record.x}}",
        "{{urlencode record.x}}",
        "{{gt record.x record.y}}",
        "{{#with record.y}}{{a}}{{/with}}",
        "https://h/",
        "{{record}}",
        "{{lookup record record.x}}",
        "{{changedFields}}",
        "{{hmacSha256 record.y record.x}}",
        "{{div record.y record.x}}",
    ]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "-?[1-9][0-9]{0,45}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,12})?"
            .prop_map(|text| serde_json::from_str(&text).unwrap_or(Value::Null))
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
        "[<>&\"'a-z\r\n/?#%.-]{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c<]{1,2}", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
        ]
    })
}

fn places() -> impl Strategy<Value = Place> {
    prop::sample::select(vec![Place::Plain, Place::Html, Place::Url, Place::Header])
}

fn world(x: Value, y: Value) -> World {
    let mut world = World::new();
    world.event.record = json!({"list": [x, y], "x": x, "y": y});
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 2_000 } else { 50_000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_never_panics(source in pieces(), place in places(), x in value()) {
        if let Ok(template) = Template::compile(&source, place) {
            let _ = template.render(&world(x, Value::Null).scope(), &mut Vec::new());
        }
    }

    #[test]
    fn sense_never_panics_and_always_compiles(source in sensible(), place in places(), x in value(), y in value()) {
        let template = Template::compile(&source, place).unwrap();
        let _ = template.render(&world(x, y).scope(), &mut Vec::new());
    }

    #[test]
    fn a_placeholder_alone_gives_the_very_value(x in value()) {
        let template = Template::compile("{{record.x}}", Place::Plain).unwrap();
        let rendered = template.render(&world(x.clone(), Value::Null).scope(), &mut Vec::new()).unwrap();
        prop_assert_eq!(rendered.to_string(), x.to_string());
    }

    #[test]
    fn text_without_placeholders_comes_back(text in any::<String>()) {
        prop_assume!(!text.contains("{{"));
        let template = Template::compile(&text, Place::Plain).unwrap();
        prop_assert_eq!(template.render(&World::new().scope(), &mut Vec::new()).unwrap(), Value::from(text));
    }

    #[test]
    fn text_around_a_placeholder_comes_back(before in "[^{}\\\\]{0,20}", after in "[^{}\\\\]{0,20}", x in any::<String>()) {
        let source = format!("{before}.{{{{record.x}}}}.{after}");
        let template = Template::compile(&source, Place::Plain).unwrap();
        let rendered = template.render_text(&world(x.clone().into(), Value::Null).scope()).unwrap();
        prop_assert_eq!(rendered, format!("{before}.{x}.{after}"));
    }

    #[test]
    fn values_put_no_markup_into_html(source in sensible(), x in value(), y in value()) {
        let source = source.replace("{{{record.x}}}", "").replace("<b>", "");
        let template = Template::compile(&source, Place::Html).unwrap();
        if let Ok(text) = template.render_text(&world(x, y).scope()) {
            prop_assert!(!text.contains(['<', '>', '"', '\'']), "{}", text);
        }
    }

    #[test]
    fn values_stay_in_their_part_of_a_url(x in any::<String>()) {
        let template = Template::compile("https://h.example/a/{{record.x}}/b?c={{record.x}}#d", Place::Url).unwrap();
        if let Ok(url) = template.render_text(&world(x.into(), Value::Null).scope()) {
            prop_assert!(url.starts_with("https://h.example/a/") && url.ends_with("#d"));
            prop_assert_eq!(url.matches(['/', '?', '#', '=', '&', ' ', '\\']).count(), 8, "{}", url);
        }
    }

    #[test]
    fn values_put_no_line_break_into_a_header(source in sensible(), x in value(), y in value()) {
        let template = Template::compile(&source, Place::Header).unwrap();
        if let Ok(Value::String(text)) = template.render(&world(x, y).scope(), &mut Vec::new()) {
            prop_assert!(!text.contains(['\r', '\n', '\0']));
        }
    }
}
