//! E-mail: through a real mail server over TLS, and into the mailbox in development.

use serde_json::{Value, json};

use crate::harness::{Home, Mail, Smtp, SmtpSettings, fast, free_port, home, on};

const LOGIN: Option<(&str, &str)> = Some(("mailer", "mail-canary-58310"));

async fn notification(home: &Home, smtp: &Smtp, tls: &str, login: Option<(&str, &str)>) {
    let mut server = json!({"host": "localhost", "port": smtp.port, "tls": tls, "ca": smtp.ca});
    if let Some((user, password)) = login {
        home.resource("secrets", "MAIL", json!({"value": password})).await;
        server["username"] = json!(user);
        server["password"] = json!("{{secrets.MAIL}}");
    }
    let settings = json!({
        "smtp": server, "mailbox": false, "from": "Orders <orders@example.com>",
        "messages": {"confirmation": {
            "subject": "Order {{orderNumber}}", "text": "{{name}}: {{total}}", "html": "<p>{{name}}: {{total}}</p>"}}
    });
    home.resource("notifications", "orders", settings).await;
    let action = json!({
        "name": "mail", "type": "notification.email", "retry": fast(3),
        "config": {"notification": "orders:confirmation", "recipients": ["{{record.to}}"], "cc": ["boss@example.com"],
                   "subject": {"orderNumber": "{{record.number}}"}, "template": {"name": "{{record.name}}", "total": "{{record.total}}"}}
    });
    home.trigger(on("mail", "mail", json!([action]))).await;
}

async fn send(home: &Home, name: &str) -> Value {
    home.event_ended("mail", json!({"to": "ann@example.com", "number": "A-1", "name": name, "total": 12.5})).await
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    let line = mail.data.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

#[tokio::test]
async fn a_message_goes_over_starttls_with_login_to_all_recipients() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings { tls: "starttls", login: LOGIN, ..SmtpSettings::default() });
    notification(&home, &smtp, "starttls", LOGIN).await;
    let checked = home.post("/api/v1/notifications/orders/check", json!({})).await.expect(200);
    assert_eq!(checked["ok"], true, "{checked}");
    let event = send(&home, "Ann <b>&\"x\"").await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let mail = smtp.wait_for(1).await.remove(0);
    assert!(mail.tls && mail.user.as_deref() == Some("mailer"), "{mail:?}");
    assert_eq!(mail.from, "orders@example.com");
    assert_eq!(mail.to, ["ann@example.com", "boss@example.com"]);
    assert_eq!(header(&mail, "subject"), "Order A-1");
    assert!(mail.data.contains("<p>Ann &lt;b&gt;&amp;&quot;x&quot;: 12.5</p>"), "HTML is escaped: {}", mail.data);
    assert!(mail.data.contains("Ann <b>&\"x\": 12.5"), "text is not: {}", mail.data);
    let action = &event["runs"][0]["actions"][0];
    let message_id = action["output"]["messageId"].as_str().unwrap();
    assert_eq!(header(&mail, "message-id"), message_id);
    assert!(message_id.contains(action["delivery_id"].as_str().unwrap()), "built from the delivery id: {message_id}");
    assert!(!event.to_string().contains("mail-canary") && !home.server().log().contains("mail-canary"));
}

#[tokio::test]
async fn a_server_that_knows_login_alone_is_logged_in_to_and_the_connection_used_again() {
    let home = home().await;
    let settings = SmtpSettings { tls: "starttls", login: LOGIN, without: vec!["PLAIN"], ..SmtpSettings::default() };
    let smtp = Smtp::start(&settings);
    notification(&home, &smtp, "starttls", LOGIN).await;
    for _ in 0..2 {
        assert_eq!(send(&home, "Ann").await["status"], "delivered");
    }
    assert!(smtp.wait_for(2).await.iter().all(|mail| mail.tls && mail.user.as_deref() == Some("mailer")));
}

#[tokio::test]
async fn one_refused_recipient_keeps_the_message_from_nobody_else() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings { rcpt: vec!["", "550 5.1.1 no such user"], ..SmtpSettings::default() });
    notification(&home, &smtp, "none", None).await;
    let event = send(&home, "Ann").await;
    let output = &event["runs"][0]["actions"][0]["output"];
    assert_eq!(
        (&event["status"], &output["refused"][0]["recipient"]),
        (&json!("delivered"), &json!("boss@example.com"))
    );
    assert_eq!(output["refused"][0]["code"], "SMTP_550");
    assert_eq!(smtp.wait_for(1).await[0].to, ["ann@example.com"]);
}

#[tokio::test]
async fn a_second_mail_server_takes_over_where_the_first_is_down() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings::default());
    let server =
        |port: u16| json!({"smtp": {"host": "127.0.0.1", "port": port, "tls": "none"}, "from": "a@example.com"});
    home.resource("notifications", "first", server(free_port())).await;
    home.resource("notifications", "second", server(smtp.port)).await;
    let mail = |tag: &str| {
        json!({"name": tag, "type": "notification.email", "retry": fast(2),
            "config": {"notification": tag, "recipients": "ann@example.com", "subject": "Hi", "text": "there"}})
    };
    let mut action = mail("first");
    action["fallback"] = json!([mail("second")]);
    home.trigger(on("mail", "mail", json!([action]))).await;
    let event = home.event_ended("mail", json!({})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let first = &event["runs"][0]["actions"][0];
    assert_eq!((&first["status"], &first["attempts"][1]["error_code"]), (&json!("failed"), &json!("ECONNREFUSED")));
    assert_eq!(smtp.wait_for(1).await[0].to, ["ann@example.com"]);
}

#[tokio::test]
async fn tls_from_the_first_byte_works_too() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings { tls: "tls", ..SmtpSettings::default() });
    notification(&home, &smtp, "tls", None).await;
    assert_eq!(send(&home, "Ann").await["status"], "delivered");
    assert!(smtp.wait_for(1).await[0].tls);
}

#[tokio::test]
async fn a_server_with_the_wrong_certificate_or_without_tls_gets_no_mail() {
    let home = home().await;
    let (smtp, other) = (
        Smtp::start(&SmtpSettings { tls: "starttls", ..SmtpSettings::default() }),
        Smtp::start(&SmtpSettings::default()),
    );
    notification(&home, &smtp, "starttls", None).await;
    home.patch("/api/v1/notifications/orders", json!({"smtp": {"ca": other.ca}})).await.expect(200);
    assert_eq!(send(&home, "Ann").await["status"], "failed");
    home.patch("/api/v1/notifications/orders", json!({"smtp": {"port": other.port}})).await.expect(200);
    let event = send(&home, "Ann").await;
    assert_eq!(event["runs"][0]["error_code"], "RESOURCE_INVALID", "no STARTTLS on offer: {event:#}");
    assert!(smtp.taken().is_empty() && other.taken().is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good_and_not_told() {
    let home = home().await;
    let smtp =
        Smtp::start(&SmtpSettings { tls: "starttls", login: Some(("mailer", "right")), ..SmtpSettings::default() });
    notification(&home, &smtp, "starttls", LOGIN).await;
    let event = send(&home, "Ann").await;
    assert_eq!(event["runs"][0]["error_code"], "SMTP_535", "{event:#}");
    assert_eq!(event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len(), 1);
    assert!(!event.to_string().contains("mail-canary"));
}

#[tokio::test]
async fn a_temporary_no_is_tried_again_with_the_same_message_id_and_a_permanent_one_is_not() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings { data: vec!["451 4.3.0 later"], ..SmtpSettings::default() });
    notification(&home, &smtp, "none", None).await;
    let event = send(&home, "Ann").await;
    let attempts = event["runs"][0]["actions"][0]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["error_code"]), (2, &json!("SMTP_451")), "{event:#}");
    assert_eq!(smtp.wait_for(1).await.len(), 1);
    let nobody = vec!["550 5.1.1 no such user", "550 5.1.1 no such boss"];
    let smtp = Smtp::start(&SmtpSettings { rcpt: nobody, ..SmtpSettings::default() });
    notification(&home, &smtp, "none", None).await;
    let event = send(&home, "Ann").await;
    assert_eq!((&event["status"], &event["runs"][0]["error_code"]), (&json!("failed"), &json!("SMTP_550")));
    assert!(event["runs"][0]["error"].as_str().unwrap().contains("no such user"), "{event:#}");
}

#[tokio::test]
async fn line_ends_cannot_add_headers_or_recipients() {
    let home = home().await;
    let smtp = Smtp::start(&SmtpSettings::default());
    notification(&home, &smtp, "none", None).await;
    for (field, value) in [
        ("to", "ann@example.com\r\nBcc: evil@example.com"),
        ("number", "1\r\nBcc: evil@example.com"),
        ("to", "a@example.com, evil@example.com\n"),
    ] {
        let mut payload = json!({"to": "ann@example.com", "number": "1", "name": "n", "total": 1});
        payload[field] = json!(value);
        let event = home.event_ended("mail", payload).await;
        let taken = smtp.taken();
        assert!(taken.iter().all(|mail| !mail.to.iter().any(|to| to.contains("evil"))), "{taken:?}");
        assert!(taken.iter().all(|mail| header(mail, "bcc").is_empty()), "{taken:?}");
        assert_eq!(event["status"], "failed", "{field}: {event:#}");
    }
}

#[tokio::test]
async fn without_a_mail_server_development_keeps_messages_in_the_mailbox() {
    let home = home().await;
    home.resource(
        "notifications",
        "local",
        json!({"from": "me@example.com", "messages": {"hi": {"subject": "Hi {{name}}", "text": "Hello {{name}}"}}}),
    )
    .await;
    let action = json!([{"name": "mail", "type": "notification.email",
        "config": {"notification": "local:hi", "recipients": ["ann@example.com"], "subject": {"name": "Ann"}, "template": {"name": "{{record.name}}"},
                   "attachments": [{"filename": "a.txt", "content": "aGVsbG8=", "contentType": "text/plain"}]}}]);
    home.trigger(on("mail", "mail", action)).await;
    let event = home.event_ended("mail", json!({"name": "Bob"})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let mailbox = home.get("/api/v1/mailbox").await.expect(200);
    let mail = &mailbox["messages"][0];
    assert_eq!(
        (&mail["to"], &mail["subject"], &mail["text"]),
        (&json!(["ann@example.com"]), &json!("Hi Ann"), &json!("Hello Bob"))
    );
    assert_eq!((&mail["kind"], &mail["attachments"]), (&json!("email"), &json!(["a.txt"])));
    assert_eq!(mail["message_id"], event["runs"][0]["actions"][0]["output"]["messageId"]);
    let source = home.get(&format!("/api/v1/mailbox/{}/source", mail["id"].as_str().unwrap())).await;
    assert!(source.text.contains("a.txt") && source.text.contains("\r\nhello\r\n"), "{}", source.text);
}
