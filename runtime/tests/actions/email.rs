//! `notification.email` against a mail server that follows a script, and into the mailbox.

use serde_json::{Value, json};
use triggerd::config::Net;

use crate::harness::smtp_server::{Script, SmtpServer};
use crate::harness::{Bench, dead, done, free_port, retried, run};

fn service(server: &SmtpServer) -> Value {
    json!({
        "smtp": {"host": "127.0.0.1", "port": server.address.port(), "tls": "none"},
        "from": "Shop <shop@example.com>",
        "messages": {"confirmation": {
            "subject": "Order {{orderNumber}}",
            "text": "Total {{total}}{{#each items}}\n- {{name}}{{/each}}",
            "html": "<p>{{customer}}</p>",
        }},
    })
}

fn confirmation() -> Value {
    json!({
        "notification": "orders:confirmation", "recipients": ["Ann <ann@example.org>"], "bcc": "audit@example.com",
        "subject": {"orderNumber": "A-1"},
        "template": {"total": serde_json::from_str::<Value>("10.50").unwrap(), "items": [{"name": "x"}, {"name": "y"}], "customer": "<b>Ann</b>"},
        "attachments": [{"filename": "a.txt", "content": "aGVsbG8=", "contentType": "text/plain"}],
    })
}

#[tokio::test]
async fn a_message_is_rendered_and_handed_over_with_an_id_that_retries_share() {
    let (bench, server) = (Bench::local().await, SmtpServer::start(Script::default()).await);
    bench.put("notifications", "orders", service(&server)).await;
    let cx = bench.context();
    let id = format!("<{}@example.com>", cx.delivery_id);
    for _ in 0..2 {
        assert_eq!(done(run(&cx, "notification.email", confirmation()).await), json!({ "messageId": id }));
    }
    let messages = server.messages.lock().clone();
    assert_eq!(messages.len(), 2);
    for message in &messages {
        for wanted in [
            "Subject: Order A-1\r\n",
            &format!("Message-ID: {id}\r\n"),
            "Total 10.50\r\n- x\r\n- y",
            "&lt;b&gt;Ann&lt;/b&gt;",
            "filename=\"a.txt\"",
            "From: Shop <shop@example.com>\r\n",
            "To: Ann <ann@example.org>\r\n",
        ] {
            assert!(message.contains(wanted), "{wanted} in {message}");
        }
        assert!(!message.contains("audit@example.com"));
    }
    assert_eq!(server.recipients.lock().len(), 4);
    assert_eq!(*server.connections.lock(), 1, "the connection is used again");
    let check = bench.services.resources.check(&bench.tenant(), "notifications", "orders", "").await.unwrap();
    assert!(check.ok, "{}", check.detail);
}

#[tokio::test]
async fn the_server_s_answers_decide_whether_to_come_back() {
    for (script, code, again) in [
        (Script { to_mail: Some("451 later"), ..Script::default() }, "SMTP_451", true),
        (Script { to_rcpt: Some("550 no such user"), ..Script::default() }, "SMTP_550", false),
        (Script { to_rcpt: Some("450 busy"), ..Script::default() }, "SMTP_450", true),
        (Script { to_message: Some("554 spam"), ..Script::default() }, "SMTP_554", false),
        (Script { cut_after_message: true, ..Script::default() }, "ECONNRESET", true),
    ] {
        let (bench, server) = (Bench::local().await, SmtpServer::start(script).await);
        bench.put("notifications", "orders", service(&server)).await;
        let outcome = bench.run("notification.email", confirmation()).await;
        let failure = if again { retried(outcome) } else { dead(outcome) };
        assert_eq!(failure.code, code, "{}", failure.message);
        assert_eq!(failure.message.contains("unknown"), code == "ECONNRESET", "{}", failure.message);
    }
    let bench = Bench::local().await;
    let closed = free_port();
    bench
        .put(
            "notifications",
            "orders",
            json!({"smtp": {"host": "127.0.0.1", "port": closed, "tls": "none"}, "from": "a@example.com"}),
        )
        .await;
    let mail = json!({"notification": "orders", "recipients": "b@example.com", "subject": "s", "body": "b"});
    assert_eq!(retried(bench.run("notification.email", mail).await).code, "ECONNREFUSED");
}

/// A script that gives these answers to these recipients, each once.
fn once(answers: &[(&'static str, &'static str)]) -> Script {
    let script = Script::default();
    script.once.lock().extend_from_slice(answers);
    script
}

#[tokio::test]
async fn who_is_refused_is_named_and_the_others_have_the_message() {
    let (bench, server) = (Bench::local().await, SmtpServer::start(once(&[("ann@", "550 5.1.1 no such user")])).await);
    bench.put("notifications", "orders", service(&server)).await;
    let output = done(bench.run("notification.email", confirmation()).await);
    assert_eq!(
        (&output["refused"][0]["recipient"], &output["refused"][0]["code"]),
        (&json!("ann@example.org"), &json!("SMTP_550"))
    );
    assert!(
        output["refused"][0]["message"].as_str().unwrap().contains("no such user") && output["refused"][1].is_null()
    );
    assert_eq!(server.messages.lock().len(), 1);
    done(bench.run("notification.email", confirmation()).await);
    assert_eq!(*server.connections.lock(), 1, "the connection is still good");
}

#[tokio::test]
async fn who_may_be_taken_later_is_asked_again_alone() {
    let script = once(&[("ann@", "450 4.2.0 greylisted"), ("boss@", "550 gone")]);
    let (bench, server) = (Bench::local().await, SmtpServer::start(script).await);
    bench.put("notifications", "orders", service(&server)).await;
    let mut config = confirmation();
    config["cc"] = json!(["boss@example.org"]);
    let cx = bench.context();
    let failure = retried(run(&cx, "notification.email", config.clone()).await);
    assert!(failure.code == "SMTP_450" && failure.message.contains("do not get it again"), "{}", failure.message);
    let output = done(run(&cx, "notification.email", config).await);
    assert_eq!(
        (&output["refused"][0]["recipient"], output["refused"].as_array().unwrap().len()),
        (&json!("boss@example.org"), 1)
    );
    let asked = server.recipients.lock().clone();
    let times = |address: &str| asked.iter().filter(|line| line.contains(address)).count();
    assert_eq!([times("ann@"), times("boss@"), times("audit@")], [2, 1, 1]);
    let messages = server.messages.lock().clone();
    let id = |message: &str| message.lines().find(|line| line.starts_with("Message-ID:")).map(str::to_owned);
    assert_eq!((messages.len(), id(&messages[0])), (2, id(&messages[1])));
}

#[tokio::test]
async fn a_message_whose_fate_is_unknown_is_sent_again_with_the_same_id() {
    let script = Script { cut_after_message: true, ..Script::default() };
    let (bench, server) = (Bench::local().await, SmtpServer::start(script).await);
    bench.put("notifications", "orders", service(&server)).await;
    let cx = bench.context();
    for _ in 0..2 {
        assert!(retried(run(&cx, "notification.email", confirmation()).await).message.contains("unknown"));
    }
    let messages = server.messages.lock().clone();
    let id = format!("Message-ID: <{}@example.com>", cx.delivery_id);
    assert!(messages.len() == 2 && messages.iter().all(|message| message.contains(&id)), "{messages:?}");
    assert_eq!(server.recipients.lock().len(), 4, "to everybody: nobody is known to have it");
}

#[tokio::test]
async fn files_come_as_base64_as_text_or_out_of_the_record() {
    let (bench, server) = (Bench::local().await, SmtpServer::start(Script::default()).await);
    bench.put("notifications", "orders", service(&server)).await;
    let mut cx = bench.context();
    std::sync::Arc::make_mut(&mut cx.event).record = json!({"invoice": {"pdf": "JVBERi0x"}});
    let inline = |attachments: Value| json!({"notification": "orders", "recipients": "ann@example.org", "subject": "Files", "body": "see", "attachments": attachments});
    let config = inline(json!([
        {"filename": "a.bin", "content": "aGVsbG8="}, {"filename": "b.txt", "text": "gr\u{fc}n"},
        {"filename": "c.pdf", "dataField": "invoice.pdf", "contentType": "application/pdf"},
    ]));
    done(run(&cx, "notification.email", config).await);
    let message = server.messages.lock()[0].clone();
    for wanted in ["filename=\"a.bin\"", "filename=\"b.txt\"", "filename=\"c.pdf\"", "%PDF-1", "application/pdf"] {
        assert!(message.contains(wanted), "{wanted} in {message}");
    }
    for (bad, place) in [
        (json!([{"filename": "a", "content": "!"}]), "/attachments/0/content"),
        (json!([{"filename": "a"}]), "/attachments/0/content"),
        (json!([{"filename": "a", "text": "x", "content": "eA=="}]), "/attachments/0/content"),
        (json!([{"filename": "a", "dataField": "invoice.none"}]), "/attachments/0/dataField"),
        (json!([{"filename": "a", "text": "x".repeat(26 << 20)}]), "/attachments"),
    ] {
        let failure = dead(run(&cx, "notification.email", inline(bad)).await);
        assert!(failure.code == "CONFIG_INVALID" && failure.message.starts_with(place), "{}", failure.message);
    }
    assert_eq!(server.messages.lock().len(), 1);
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_no_reason_to_go_on_without() {
    let (bench, server) = (Bench::local().await, SmtpServer::start(Script::default()).await);
    let mut settings = service(&server);
    settings["smtp"]["tls"] = "starttls".into();
    bench.put("notifications", "orders", settings).await;
    assert_eq!(dead(bench.run("notification.email", confirmation()).await).code, "RESOURCE_INVALID");
    assert!(server.messages.lock().is_empty());
}

#[tokio::test]
async fn every_bad_address_is_named_and_nothing_is_sent() {
    let (bench, server) = (Bench::local().await, SmtpServer::start(Script::default()).await);
    bench.put("notifications", "orders", service(&server)).await;
    let mut config = confirmation();
    config["recipients"] = json!(["ann@example.org\r\nBcc: evil@example.com", "a@example.com, b@example.com", null]);
    config["cc"] = json!("no address");
    let failure = dead(bench.run("notification.email", config).await);
    for place in ["/recipients/0", "/recipients/1", "/recipients/2", "/cc"] {
        assert!(failure.message.contains(place), "{place} in {}", failure.message);
    }
    let mut config = confirmation();
    config["subject"] = json!("a\r\nBcc: evil@example.com");
    assert!(dead(bench.run("notification.email", config).await).message.starts_with("/subject"));
    let mut config = confirmation();
    config["notification"] = json!("orders:nope");
    let failure = dead(bench.run("notification.email", config).await);
    assert_eq!(failure.code, "NOT_FOUND");
    assert!(failure.message.contains("`nope`"), "{}", failure.message);
    let mut config = confirmation();
    config["notification"] = json!("nope:confirmation");
    assert_eq!(dead(bench.run("notification.email", config).await).code, "RESOURCE_NOT_FOUND");
    assert!(server.messages.lock().is_empty());
}

#[tokio::test]
async fn development_mail_stays_on_this_machine() {
    let bench = Bench::with(Net::loopback(), true).await;
    let inline = json!({"notification": "sketch", "recipients": "ann@example.org", "subject": "Hi", "body": {"text": "t", "html": "<p>h</p>"}});
    done(bench.run("notification.email", inline.clone()).await);
    let elsewhere = json!({"smtp": {"host": "192.0.2.1", "tls": "none"}, "from": "a@example.com", "messages": {}});
    bench.put("notifications", "sketch", elsewhere).await;
    done(bench.run("notification.email", inline.clone()).await);
    let kept = bench.services.mailbox.list(&bench.tenant(), None, 10).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].subject.as_str(), kept[0].html.as_deref()), ("Hi", Some("<p>h</p>")));
    let server = SmtpServer::start(Script::default()).await;
    bench.put("notifications", "sketch", service(&server)).await;
    done(bench.run("notification.email", inline.clone()).await);
    assert_eq!(server.messages.lock().len(), 1, "a mail server on this machine is used");
    let production = Bench::local().await;
    assert_eq!(dead(production.run("notification.email", inline).await).code, "RESOURCE_NOT_FOUND");
}
