//! Queues that others made, and addresses with special characters.

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ExchangeKind};
use mnemosyne_domain::Queue;
use mnemosyne_domain::ports::Health;
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, BrokerUrl, QueueType};

use crate::broker::{VirtualHost, announced, heard, quiet, rabbitmqctl, ready, settle};

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    }
}

fn of_type(kind: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    arguments
}

async fn declare(connection: &Connection, queue: &str, arguments: FieldTable) {
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_declare(queue.into(), durable(), arguments)
        .await
        .unwrap();
}

async fn passes(settings: AmqpSettings) {
    let queue = AmqpQueue::connect_lazy(settings);
    for of in Queue::ALL {
        let job = announced(&queue, of).await;
        settle(heard(&queue, &job).await).await;
    }
    queue.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_are_there_are_taken_as_they_are() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let connection = host.connection().await;
    declare(&connection, "embedding", of_type("quorum")).await;
    declare(&connection, "batch", of_type("classic")).await;
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        passes(AmqpSettings {
            queue_type,
            ..host.worker()
        })
        .await;
    }
    declare(&connection, "embedding", of_type("quorum")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_queues_are_made_where_they_are_wanted() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    passes(AmqpSettings {
        queue_type: QueueType::Quorum,
        ..host.worker()
    })
    .await;
    let connection = host.connection().await;
    for queue in ["celery", "embedding", "batch", "mnemosyne.dead"] {
        declare(&connection, queue, of_type("quorum")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_are_those_that_a_celery_client_declares() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.producer());
    ready(&queue).await;
    let connection = host.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let lasting = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    for of in Queue::ALL {
        let name = of.as_str();
        let none = FieldTable::default;
        channel
            .exchange_declare(name.into(), ExchangeKind::Direct, lasting, none())
            .await
            .unwrap();
        channel
            .queue_declare(name.into(), durable(), none())
            .await
            .unwrap();
        channel
            .queue_bind(
                name.into(),
                name.into(),
                name.into(),
                QueueBindOptions::default(),
                none(),
            )
            .await
            .unwrap();
    }
    let job = announced(&queue, Queue::Embedding).await;
    let message = channel
        .basic_get("embedding".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    let properties = &message.delivery.properties;
    assert_eq!(
        properties.correlation_id().as_ref().unwrap().as_str(),
        job.as_str()
    );
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(properties.content_encoding().as_ref().unwrap().as_str(), "utf-8");
    assert_eq!(
        (*properties.delivery_mode(), *properties.priority()),
        (Some(2), Some(0))
    );
    assert_eq!(properties.reply_to().as_ref().unwrap().as_str(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_password_and_virtual_host_are_decoded_and_a_refusal_hints_at_it() {
    const PASSWORD: &str = "p@s/s#?%:+ ä[&=";
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let user = format!("us@er/{}", mnemosyne_domain::JobId::generate());
    rabbitmqctl(&["add_user", &user, PASSWORD]);
    host.permit(&user);
    passes(AmqpSettings {
        url: BrokerUrl::parse(&host.url_as(&user, PASSWORD)).unwrap(),
        ..host.worker()
    })
    .await;
    let wrong = AmqpQueue::connect_lazy(AmqpSettings {
        url: BrokerUrl::parse(&host.url_as(&user, "another-secret")).unwrap(),
        ..host.producer()
    });
    let refused = crate::broker::away(&wrong).await;
    assert!(refused.contains("percent-encoded"), "{refused}");
    assert!(!refused.contains("another-secret"), "{refused}");
    assert!(wrong.check().await.is_err());
}
