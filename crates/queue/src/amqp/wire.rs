//! Values of AMQP as JSON, and back.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value};

use crate::celery::message::Envelope;

/// A name on the wire; `None` where it is longer than AMQP allows.
pub(super) fn name(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

/// Header fields. One whose name is too long for AMQP is left out.
pub(super) fn table(fields: &Map<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (field, value) in fields {
        if let Some(field) = name(field) {
            table.insert(field, to_amqp(value));
        }
    }
    table
}

fn to_amqp(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(truth) => AMQPValue::Boolean(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AMQPValue::LongLongInt(whole),
            (None, Some(broken)) => AMQPValue::Double(broken),
            (None, None) => AMQPValue::Void,
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => AMQPValue::FieldArray(values.iter().map(to_amqp).collect::<Vec<_>>().into()),
        Value::Object(fields) => AMQPValue::FieldTable(table(fields)),
    }
}

fn to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(truth) => Value::from(*truth),
        AMQPValue::ShortShortInt(number) => Value::from(*number),
        AMQPValue::ShortShortUInt(number) => Value::from(*number),
        AMQPValue::ShortInt(number) => Value::from(*number),
        AMQPValue::ShortUInt(number) => Value::from(*number),
        AMQPValue::LongInt(number) => Value::from(*number),
        AMQPValue::LongUInt(number) => Value::from(*number),
        AMQPValue::LongLongInt(number) => Value::from(*number),
        AMQPValue::Timestamp(seconds) => Value::from(*seconds),
        AMQPValue::Float(number) => Value::from(*number),
        AMQPValue::Double(number) => Value::from(*number),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Value::from(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(to_json).collect(),
        AMQPValue::FieldTable(fields) => Value::Object(map(fields)),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => Value::Null,
    }
}

fn map(table: &FieldTable) -> Map<String, Value> {
    table
        .into_iter()
        .map(|(field, value)| (field.as_str().to_owned(), to_json(value)))
        .collect()
}

/// A number among the header fields.
pub(super) fn number(properties: &BasicProperties, field: &str) -> Option<u64> {
    let headers = properties.headers().as_ref()?;
    to_json(headers.inner().get(field)?).as_u64()
}

/// A delivered message.
pub(super) fn envelope(delivery: &mut Delivery) -> Envelope {
    let text = |name: &Option<ShortString>| name.as_ref().map(|name| name.as_str().to_owned());
    let properties = &delivery.properties;
    Envelope {
        headers: properties.headers().as_ref().map(map).unwrap_or_default(),
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        body: std::mem::take(&mut delivery.data),
    }
}

/// How long a message lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// As long as the broker runs.
    InMemory,
    /// Over restarts of the broker, where its queue is durable.
    OnDisk,
}

/// The properties of a message of ours.
pub(super) fn properties(envelope: &Envelope, keep: Keep) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_headers(table(&envelope.headers))
        .with_priority(0)
        .with_delivery_mode(match keep {
            Keep::InMemory => 1,
            Keep::OnDisk => 2,
        });
    if let Some(media_type) = envelope.content_type.as_deref().and_then(name) {
        properties = properties.with_content_type(media_type);
    }
    if let Some(encoding) = envelope.content_encoding.as_deref().and_then(name) {
        properties = properties.with_content_encoding(encoding);
    }
    if let Some(id) = envelope.correlation_id.as_deref().and_then(name) {
        properties = properties.with_correlation_id(id);
    }
    if let Some(queue) = envelope.reply_to.as_deref().and_then(name) {
        properties = properties.with_reply_to(queue);
    }
    properties
}

/// A message of ours whose body is JSON.
pub(super) fn json(headers: Map<String, Value>, correlation_id: Option<String>, body: &Value) -> Envelope {
    Envelope {
        headers,
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        correlation_id,
        reply_to: None,
        body: body.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_come_back_as_they_went() {
        let Value::Object(fields) = json!({
            "text": "ä", "none": null, "yes": true, "whole": -7, "broken": 0.5,
            "list": [1, "two", null], "object": {"inner": [true]},
        }) else {
            unreachable!("it is an object")
        };
        assert_eq!(map(&table(&fields)), fields);
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        assert!(name(&"x".repeat(255)).is_some());
        assert!(name(&"x".repeat(256)).is_none());
    }
}
