//! JSON types, missing values, warnings, strictness.

use super::*;

#[test]
fn one_placeholder_alone_keeps_its_json_type() {
    for (source, value) in [
        ("{{record.total}}", "1000"),
        ("{{ record.total }}", "1000"),
        ("{{{record.total}}}", "1000"),
        ("{{record.big}}", "123456789012345678901234567890"),
        // serde_json itself writes the sign of an exponent when it reads a number.
        ("{{record.huge}}", "1e+400"),
        ("{{record.price}}", "12.50"),
        ("{{record.paid}}", "true"),
        ("{{record.note}}", "null"),
        ("{{record.tags}}", r#"["x","y"]"#),
        ("{{record.items.[0]}}", r#"{"sku":"A-1","qty":2}"#),
        ("{{attempt}}", "2"),
        ("{{default record.nope 5}}", "5"),
        ("{{default record.items record.nope}}", r#"[{"sku":"A-1","qty":2},{"sku":"B/2","qty":1}]"#),
        ("{{add record.total 1}}", "1001"),
        ("{{length record.items}}", "2"),
        ("{{record.items.length}}", "2"),
        ("{{eq record.total 1000}}", "true"),
        ("{{json record.tags}}", r#""[\"x\",\"y\"]""#),
        ("{{record.total}} ", r#""1000 ""#),
        ("{{record.total}}{{record.total}}", r#""10001000""#),
        ("", r#""""#),
    ] {
        // As text: equality of numbers would hide lost digits.
        assert_eq!(render(source).to_string(), value, "{source}");
    }
    assert_eq!(render("{{record}}"), order().record);
}

#[test]
fn in_text_values_stand_as_they_are_and_structures_as_json() {
    for (source, text) in [
        ("n={{record.big}}", "n=123456789012345678901234567890"),
        ("n={{record.huge}}", "n=1e+400"),
        ("p={{record.price}}", "p=12.50"),
        ("o={{record.items.1}}", r#"o={"sku":"B/2","qty":1}"#),
        ("t={{record.tags}}", r#"t=["x","y"]"#),
        ("b={{record.paid}}", "b=true"),
        ("x={{record.note}}.", "x=."),
        ("x={{record.nope}}.", "x=."),
        ("plain text, no {braces}", "plain text, no {braces}"),
        (r"\{{record.id}} is {{record.id}}", "{{record.id}} is 7"),
        ("{{!-- a }} comment --}}a{{! b }}", "a"),
        ("a  {{~record.id~}}  b", "a7b"),
    ] {
        assert_eq!(render(source), json!(text), "{source}");
    }
}

#[test]
fn every_placeholder_of_the_language_has_its_value() {
    for (source, value) in [
        ("{{previousRecord.total}}", json!(900)),
        ("{{event}}", json!("afterUpdate")),
        ("{{type}}", json!("orders.updated")),
        ("{{table}}", json!("orders")),
        ("{{database}}", json!("orders-db")),
        ("{{env}}", json!("prd")),
        ("{{timestamp}}", json!("2025-10-09T08:53:20.500Z")),
        ("{{operation}}", json!("update")),
        ("{{user.roles.[0]}}", json!("admin")),
        ("{{source}}", json!("shop")),
        ("{{metadata.trace}}", json!("t-1")),
        ("{{metadata}}", json!({"trace": "t-1"})),
        ("{{payload.record.id}}", json!(7)),
        ("{{payload.table}}", json!("orders")),
        ("{{trigger.tag}}", json!("process-order")),
        ("{{actions.send-mail.output.id}}", json!("m-1")),
        ("{{actions.http.post-0.output.status}}", json!(200)),
        ("{{actions.[name.output.odd].output}}", json!(3)),
        ("{{secrets.KEY}}", json!("s3cr3t")),
        ("{{secrets.stripe.key}}", json!("sk")),
        ("{{record.items.0.sku}}", json!("A-1")),
        ("{{record.items[0].sku}}", json!("A-1")),
        ("{{record.[odd key]}}", json!(1)),
        (r#"{{record["odd key"]}}"#, json!(1)),
        ("{{record/address/city}}", json!("Köln")),
    ] {
        assert_eq!(render(source), value, "{source}");
    }
    let world = World::new();
    let delivery = world.scope().delivery_id.unwrap().to_string();
    assert_eq!(render("{{delivery.id}}"), json!(delivery));
}

#[test]
fn changed_fields_follow_the_operation() {
    let mut world = World::new();
    world.event.record = json!({"id": 7, "total": 1000, "new": 1});
    let template = Template::compile("{{changedFields}}", Place::Plain).unwrap();
    let mut changed = |operation| {
        world.event.change.as_mut().unwrap().operation = operation;
        template.render(&world.scope(), &mut Vec::new()).unwrap()
    };
    // 7 and 7.0 are the same number.
    assert_eq!(changed(Operation::Update), json!(["total", "new", "gone"]));
    assert_eq!(changed(Operation::Insert), json!(["id", "total", "new"]));
    assert_eq!(changed(Operation::Delete), json!(["id", "total", "gone"]));
}

#[test]
fn a_payload_of_no_row_change_is_the_record() {
    let mut world = World::new();
    world.event.change = None;
    let template = Template::compile("{{payload.id}} {{event}} {{changedFields}}{{table}}", Place::Plain).unwrap();
    let mut warnings = Vec::new();
    assert_eq!(template.render(&world.scope(), &mut warnings).unwrap(), json!("7 orders.updated []"));
    assert_eq!(warnings, ["table"]);
}

#[test]
fn a_missing_value_is_null_alone_and_empty_in_text_with_one_warning_each() {
    let config = json!({"a": "{{record.nope}}", "b": ["x{{record.a.b}}y{{record.a.b}}"], "c": "{{record.note}}{{lower record.q}}"});
    let rendered = render_config(&config, false).unwrap();
    assert_eq!(rendered.config, json!({"a": null, "b": ["xy"], "c": ""}));
    let warnings: Vec<String> = rendered.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/a: `{{record.nope}}` has no value",
            "/b/0: `{{record.a.b}}` has no value",
            "/c: `{{record.q}}` has no value"
        ]
    );
}

#[test]
fn conditions_and_defaults_do_not_warn() {
    let config = json!({"a": "{{#if record.nope}}x{{else}}y{{/if}}{{default record.nope 'd'}}{{#each record.q}}{{else}}e{{/each}}\
                              {{eq record.nope null}}{{#unless (lower record.q)}}u{{/unless}}{{json record.nope}}"});
    for strict in [false, true] {
        let rendered = render_config(&config, strict).unwrap();
        assert_eq!(rendered.config["a"], json!("ydetrueunull"));
        assert_eq!(rendered.warnings, []);
    }
}

#[test]
fn strict_names_the_pointer_and_the_placeholder() {
    let mistake = render_config(&json!({"body": {"x/y": "a {{record.customer.id}}"}}), true).unwrap_err();
    assert_eq!(mistake.pointer, "/body/x~1y");
    assert!(mistake.detail.contains("{{record.customer.id}}"), "{mistake}");
    // A null that is there is a value.
    assert!(render_config(&json!("{{record.note}}"), true).is_ok());
    assert!(render_config(&json!("{{#each record.nope}}{{/each}}"), true).is_err());
}

#[test]
fn a_missing_secret_is_an_error_even_where_others_may_miss() {
    for source in ["{{secrets.nope}}", "a{{secrets.nope}}", "{{default secrets.nope 1}}", "{{#if secrets.nope}}{{/if}}"]
    {
        let error = render_error(source);
        assert!(error.contains("secret `nope`"), "{error}");
    }
}

#[test]
fn secrets_are_listed_wherever_they_are_used() {
    let config = json!({"a": "{{secrets.A}}", "b": ["{{#each record.items}}{{hmacSha256 sku secrets.B}}{{secrets.E}}{{/each}}"],
        "c": "{{#if (eq secrets.C 1)}}{{../x}}{{/if}}", "d": "{{lower (upper secrets.[D.e])}}"});
    assert!(compile_config(&config).is_err(), "`../` outside of each");
    let config = json!({"a": "{{secrets.A}}", "b": ["{{#each record.items}}{{hmacSha256 sku key=secrets.B}}{{@root.secrets.E}}{{/each}}"],
        "c": "{{#if (eq secrets.C 1)}}{{else if secrets.F}}{{/if}}", "d": "{{lower (upper secrets.[D.e])}}{{date timestamp tz=secrets.A}}"});
    assert_eq!(compile_config(&config).unwrap().secrets(), ["A", "B", "C", "D.e", "E", "F"]);
}

#[test]
fn settings_without_templates_come_back_as_they_are() {
    let config = json!({"a": [1, "b", {"c": null}], "{{key}}": "x"});
    let rendered = render_config(&config, true).unwrap();
    assert_eq!(rendered, Rendered { config, warnings: Vec::new() });
}

#[test]
fn blocks_render_as_handlebars_does() {
    for (source, text) in [
        ("{{#each record.items}}{{@index}}:{{sku}}{{#unless @last}}, {{/unless}}{{/each}}", "0:A-1, 1:B/2"),
        ("{{#each record.items as |item i|}}{{i}}{{item.sku}};{{/each}}", "0A-1;1B/2;"),
        ("{{#each record.tags}}{{this}}{{@first}}{{/each}}", "xtrueyfalse"),
        ("{{#each record.address}}{{@key}}={{this}} {{/each}}", "city=Köln number=5a "),
        ("{{#each record.items}}{{../record.id}}{{record.id}}{{@root.env}} {{/each}}", "77prd 77prd "),
        (
            "{{#each record.items}}{{#each ../record.tags}}{{@../index}}{{@index}}{{../sku}}{{this}} {{/each}}{{/each}}",
            "00A-1x 01A-1y 10B/2x 11B/2y ",
        ),
        ("{{#with record.address}}{{city}} {{number}}{{/with}}", "Köln 5a"),
        ("{{#with record.address as |a|}}{{a.city}}{{/with}}", "Köln"),
        ("{{#with record.none}}a{{else}}b{{/with}}", "b"),
        ("{{#each record.none}}a{{else}}b{{/each}}", "b"),
        ("{{#if record.zero}}a{{else if record.paid}}b{{else}}c{{/if}}", "b"),
        ("{{#if record.zero includeZero=true}}a{{/if}}", "a"),
        ("{{#if record.huge}}a{{/if}}", "a"),
        ("{{#unless record.empty}}a{{else}}b{{/unless}}", "a"),
        ("{{#eq record.total 1000.0}}a{{else}}b{{/eq}}", "a"),
        ("{{#if (and record.paid (gt record.big 1))}}a{{/if}}", "a"),
        ("{{lookup record.items.1 'sku'}}{{lookup (lookup record.items 0) 'sku'}}", "B/2A-1"),
        ("{{#each record.items}}{{#if (gt qty 1)}}{{sku}}{{/if}}{{/each}}", "A-1"),
        (
            "{{#each changedFields}}{{this}},{{/each}}",
            "total,big,huge,price,name,email,note,paid,empty,items,tags,odd key,address,none,zero,shipped,gone,",
        ),
        (
            "<ul>\n{{#each record.tags}}\n  <li>{{this}}</li>\n{{/each}}\n</ul>",
            "<ul>\n  <li>x</li>\n  <li>y</li>\n</ul>",
        ),
    ] {
        assert_eq!(render(source), json!(text), "{source}");
    }
}
