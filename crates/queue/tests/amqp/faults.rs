//! A broker that goes, comes late, and closes what is open.

use std::time::Duration;

use mnemosyne_domain::Queue;
use mnemosyne_domain::ports::{Health, JobQueue};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, BrokerUrl};
use mnemosyne_testkit::tls::in_front_of;

use crate::broker::{
    Frozen, PATIENCE, VirtualHost, alone, announced, announcement, away, heard, quiet, rabbitmqctl, ready,
    settle, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_is_survived() {
    let _alone = alone().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    let (settled, unsettled, unseen) = (
        announced(&queue, Queue::Default).await,
        announced(&queue, Queue::Embedding).await,
        announced(&queue, Queue::Batch).await,
    );
    let nudge = heard(&queue, &settled).await;
    settle(nudge).await;
    until("it is let go of", || host.counted("celery") == (0, 0));
    let lost = heard(&queue, &unsettled).await;
    rabbitmqctl(&["stop_app"]);
    away(&queue).await;
    assert!(queue.announce(&[announcement(Queue::Default)]).await.is_err());
    settle(lost).await;
    assert!(queue.next(&Queue::ALL, Duration::ZERO).await.is_none());
    rabbitmqctl(&["start_app"]);
    ready(&queue).await;
    let after = announced(&queue, Queue::Default).await;
    for (of, job) in [
        (Queue::Embedding, unsettled),
        (Queue::Batch, unseen),
        (Queue::Default, after),
    ] {
        let nudge = queue.next(&[of], PATIENCE).await.expect("nothing was lost");
        assert_eq!(nudge.job, Some(job));
        settle(nudge).await;
    }
    until("nothing is left", || {
        ["celery", "embedding", "batch"]
            .iter()
            .all(|name| host.counted(name) == (0, 0))
    });
}

/// The connection stands until the heartbeat gives up on it, half a minute later; nobody can say that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_not_said_to_be_well() {
    let alone = alone().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    // The mailbox has channels, too, and may open a little later than the queues.
    let node = host.worker().worker.unwrap().node;
    until("the mailbox is there", || {
        host.has(&format!("{node}.celery.pidbox"))
    });
    let channels = host.channels();
    let frozen = Frozen::freeze(&alone);
    // Those who ask give up early, and many ask at once.
    let checks = (0..50).map(|_| tokio::time::timeout(Duration::from_millis(10), queue.check()));
    for check in futures::future::join_all(checks).await {
        assert!(!matches!(check, Ok(Ok(()))), "nobody answered");
    }
    let checks = (0..50).map(|_| queue.check());
    for check in futures::future::join_all(checks).await {
        check.unwrap_err();
    }
    drop(frozen);
    ready(&queue).await;
    assert_eq!(host.channels(), channels);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_waited_for() {
    let _alone = alone().await;
    let host = VirtualHost::fresh();
    rabbitmqctl(&["stop_app"]);
    let queue = AmqpQueue::connect_lazy(host.worker());
    away(&queue).await;
    rabbitmqctl(&["start_app"]);
    let job = announced(&queue, Queue::Embedding).await;
    settle(heard(&queue, &job).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_host_that_comes_late_is_waited_for() {
    let _quiet = quiet().await;
    let host = VirtualHost::named_only();
    let queue = AmqpQueue::connect_lazy(host.worker());
    let problem = away(&queue).await;
    assert!(problem.contains("vhost"), "{problem}");
    host.make();
    let job = announced(&queue, Queue::Batch).await;
    settle(heard(&queue, &job).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_broker_closes_is_made_anew() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    let job = announced(&queue, Queue::Batch).await;
    let before = heard(&queue, &job).await;
    rabbitmqctl(&["close_all_connections", "--vhost", &host.name, "a test"]);
    // The message was not let go of, so it comes again over the new connection.
    let again = heard(&queue, &job).await;
    settle(before).await;
    settle(again).await;
    until("nothing is left", || host.counted("batch") == (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_are_deleted_are_made_again() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    for of in Queue::ALL {
        rabbitmqctl(&["delete_queue", "-p", &host.name, of.as_str()]);
        // By the one who read it, before anybody misses it.
        until("it is there again", || host.has(of.as_str()));
        let job = announced(&queue, of).await;
        settle(heard(&queue, &job).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_not_sent() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.producer());
    ready(&queue).await;
    rabbitmqctl(&["delete_queue", "-p", &host.name, "embedding"]);
    let (lost, kept) = (announcement(Queue::Embedding), announcement(Queue::Batch));
    let sent = queue.announce(&[lost.clone(), kept.clone()]).await.unwrap();
    assert_eq!(sent, [kept.job]);
    announced(&queue, Queue::Embedding).await;
    assert_eq!(host.counted("embedding"), (1, 0));
}

/// The broker closes the channel of a consumer that holds a message for too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_the_broker_closes_is_opened_anew() {
    let _alone = alone().await;
    let limits = |timeout: &str, tick: &str| {
        let set = |name, value| format!("application:set_env(rabbit, {name}, {value})");
        let both = [
            set("consumer_timeout", timeout),
            set("channel_tick_interval", tick),
        ]
        .join(", ");
        rabbitmqctl(&["eval", &format!("{both}.")]);
    };
    limits("1000", "500");
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(AmqpSettings {
        hold_unsettled: Duration::from_secs(3_600),
        ..host.worker()
    });
    let job = announced(&queue, Queue::Embedding).await;
    let first = heard(&queue, &job).await;
    let second = heard(&queue, &job).await;
    limits("1800000", "60000");
    settle(first).await;
    settle(second).await;
    // One of the sessions may have begun under the short limit.
    rabbitmqctl(&["close_all_connections", "--vhost", &host.name, "a test"]);
    let next = announced(&queue, Queue::Embedding).await;
    settle(heard(&queue, &next).await).await;
    until("nothing is left", || host.counted("embedding") == (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_closed_leaves_at_once() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    queue.close().await;
    assert!(queue.check().await.is_err());
    until("nobody is connected", || {
        let arguments = ["list_connections", "--quiet", "--no-table-headers", "vhost"];
        !rabbitmqctl(&arguments).contains(&host.name)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_certificate_nobody_vouches_for_is_refused() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let server = url::Url::parse(&host.url).unwrap();
    let place = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
    let encrypted = in_front_of(&place).await;
    let queue = AmqpQueue::connect_lazy(AmqpSettings {
        url: BrokerUrl::parse(
            &host
                .url
                .replace(&place, &encrypted.to_string())
                .replace("amqp://", "amqps://"),
        )
        .unwrap(),
        ..host.producer()
    });
    let why = away(&queue).await;
    assert!(why.contains("certificate"), "{why}");
}
