//! What is refused when the definition is stored, and how it is said.

use super::*;

#[test]
fn a_syntax_error_names_line_and_column() {
    for (source, place) in [
        ("{{record.id", "line 1, column 1:"),
        ("a\nbc {{record.id} d", "line 2, column 15:"),
        ("{{#if record.id}}x", "line 1, column 1:"),
        ("x{{/if}}", "line 1, column 2:"),
        ("{{#if record.id}}\n{{/each}}", "line 2, column 1:"),
        ("{{else}}", "line 1, column 1:"),
        ("{{}}", "line 1, column 3:"),
        ("{{record..id}}", "line 1, column 10:"),
        ("{{record.items[0]..x}}", "line 1, column 19:"),
        (r#"{{record["items"].x}}{{lower record["items"].!}}"#, "line 1, column 46:"),
        ("ä {{lower 'x}}", "line 1, column 11:"),
        ("{{record.items[}}", "line 1, column 15:"),
        ("\n\n  {{#each record.items}}{{lowr sku}}{{/each}}", "line 3, column 25:"),
    ] {
        let error = compile_error(source);
        assert!(error.starts_with(place), "{source}: {error}");
        assert!(!error.contains('\n'), "{source}: {error}");
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest_one() {
    for (source, part) in [
        ("{{recrod.id}}", "unknown placeholder `recrod.id`, did you mean `record.id`?"),
        ("a {{previousrecord.x}}", "did you mean `previousRecord.x`?"),
        ("{{lowr record.id}}", "unknown helper `lowr`, did you mean `lower`?"),
        ("{{default (lowr record.id) 1}}", "did you mean `lower`?"),
        ("{{#if (eqq record.id 1)}}{{/if}}", "did you mean `eq`?"),
        ("{{#eech record.items}}{{/eech}}", "unknown block `eech`, did you mean `each`?"),
        ("{{#lower record.id}}{{/lower}}", "without `#`"),
        ("{{#if recrod.id}}{{/if}}", "did you mean `record.id`?"),
        ("{{#each record.items}}{{@root.recrod}}{{/each}}", "unknown placeholder"),
        ("{{#each record.items}}{{../recrod}}{{/each}}", "unknown placeholder"),
        ("{{#each record.items}}{{@indx}}{{/each}}", "unknown `@indx`"),
        ("{{@index}}", "inside of `each`"),
        ("{{#with record}}{{@index}}{{/with}}", "inside of `each`"),
        ("{{this}}", "inside of `each`"),
        ("{{../record.id}}", "leaves the template"),
        ("{{#if record.id}}{{../x}}{{/if}}", "leaves the template"),
        ("{{trigger.name}}", "did you mean `trigger.tag`?"),
        ("{{trigger}}", "did you mean `trigger.tag`?"),
        ("{{actions.mail}}", "actions.NAME.output"),
        ("{{type.x}}", "`type` has no members"),
        ("{{date record.x zone='UTC'}}", "`date` has no argument `zone`"),
        ("{{date record.x formt='%Y'}}", "did you mean `format`?"),
        ("{{lower}}", "takes 1 arguments, not 0"),
        ("{{truncate record.x 1 2 3}}", "takes 1 to 3 arguments, not 4"),
        ("{{#if record.a record.b}}{{/if}}", "takes one value, not 2"),
        ("{{#if record.a as |x|}}{{/if}}", "takes no `as"),
        ("{{log record.id}}", "unknown helper `log`"),
    ] {
        let error = compile_error(source);
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn names_inside_blocks_are_free() {
    for source in [
        "{{#each record.items}}{{sku}}{{a.b}}{{this.x}}{{./y}}{{number}}{{/each}}",
        "{{#each record.items as |item key|}}{{item.sku}}{{key}}{{/each}}",
        "{{#with record.address as |a|}}{{#each record.items}}{{a.city}}{{../city}}{{/each}}{{/with}}",
    ] {
        Template::compile(source, Place::Plain).unwrap();
    }
}

#[test]
fn secrets_are_reached_by_name_only() {
    for source in [
        "{{secrets}}",
        "{{json secrets}}",
        "{{lookup secrets record.name}}",
        "{{#each secrets}}{{this}}{{/each}}",
        "{{#with secrets}}{{KEY}}{{/with}}",
        "{{#each record.items}}{{@root.secrets}}{{../secrets}}{{/each}}",
        "{{@root}}",
        "{{json this}}",
        "{{lookup this 'secrets'}}",
        "{{#each record.items}}{{lookup .. 'secrets'}}{{/each}}",
        "{{#each record.items}}{{json ../this}}{{/each}}",
    ] {
        compile_error(source);
    }
    // Inside a block the bare word is the item's.
    assert_eq!(render("{{#each record.items}}{{secrets}}{{json secrets}}{{/each}}"), json!("nullnull"));
}

#[test]
fn what_reads_files_or_runs_code_does_not_exist() {
    for source in [
        "{{> partial}}",
        "{{~ > x}}",
        "{{#> layout}}{{/layout}}",
        "{{#*inline 'x'}}{{/inline}}",
        "{{* set}}",
        "{{{{raw}}}}{{{{/raw}}}}",
        "{{lower [1,2]}}",
        "{{lower {\"a\":1}}}",
    ] {
        compile_error(source);
    }
}

#[test]
fn all_mistakes_of_the_settings_come_back_at_once_with_their_pointers() {
    let config = json!({"url": "{{recrod.id}}", "ok": "{{record.id}}", "list": [1, {"a/b": "{{"}]});
    let mistakes = compile_config(&config).unwrap_err();
    let pointers: Vec<&str> = mistakes.iter().map(|m| m.pointer.as_str()).collect();
    assert_eq!(pointers, ["/actions/0/config/url", "/actions/0/config/list/1/a~1b"]);
}
