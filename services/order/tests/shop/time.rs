//! What the passing of time does.

use std::time::Duration;

use crate::support::Shop;

#[tokio::test]
async fn an_unpaid_order_expires_and_its_units_come_back_once() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 3)]).await;
    let paid = shop.created("k2", &[("A1", 1)]).await;
    shop.pay(&paid, "p0", "tok_ok").await.expect(200);
    shop.clock.advance(Duration::from_secs(15 * 60 - 1));
    assert_eq!(shop.state(&id).await, "pending_payment");
    shop.clock.advance(Duration::from_secs(1));
    shop.eventually_state(&id, "expired").await;
    shop.eventually_stock("A1", [19, 0, 19, 1]).await;
    // Past the moment when goods would have given them back by itself.
    shop.clock.advance(Duration::from_mins(2));
    let late = shop.pay(&id, "p1", "tok_ok").await;
    assert_eq!((late.status, late.slug()), (410, "reservation-expired"));
    assert_eq!(shop.cancel(&id, "c1").await.slug(), "invalid-transition");
    assert_eq!(shop.stock("A1").await, [19, 0, 19, 1]);
    assert_eq!(shop.events(&id).await, ["order.created", "order.expired"]);
    assert_eq!(shop.state(&paid).await, "paid");
    assert!(
        shop.till.books().authorised.len() == 1,
        "nothing was asked of the provider for the late payment"
    );
}

#[tokio::test]
async fn a_payment_after_the_last_moment_is_refused_even_before_the_expiry_was_noticed() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 3)]).await;
    shop.clock.advance(Duration::from_mins(15));
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.slug(),
        "reservation-expired"
    );
    assert_eq!(shop.state(&id).await, "expired");
    shop.eventually_stock("A1", [20, 0, 20, 0]).await;
}

#[tokio::test]
async fn a_payment_that_began_in_time_and_ends_too_late_gets_new_units() {
    let shop = Shop::open();
    shop.article("A1", 1999, 20).await;
    let id = shop.created("k1", &[("A1", 3)]).await;
    shop.till.cut_off(true);
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.expect(202)["state"],
        "pending_payment"
    );
    shop.clock.advance(Duration::from_mins(20));
    shop.eventually_stock("A1", [20, 0, 20, 0]).await;
    assert_eq!(
        shop.state(&id).await,
        "pending_payment",
        "an order whose payment is at work does not expire"
    );
    shop.till.cut_off(false);
    assert_eq!(
        shop.pay(&id, "p1", "tok_ok").await.expect(200)["state"],
        "paid"
    );
    assert_eq!(shop.stock("A1").await, [17, 0, 17, 3]);
}

#[tokio::test]
async fn a_payment_that_ends_too_late_is_given_back_when_the_units_are_gone() {
    let shop = Shop::open();
    shop.article("A1", 1999, 3).await;
    let id = shop.created("k1", &[("A1", 3)]).await;
    shop.till.cut_off(true);
    shop.pay(&id, "p1", "tok_ok").await.expect(202);
    shop.clock.advance(Duration::from_mins(20));
    shop.eventually_stock("A1", [3, 0, 3, 0]).await;
    let other = shop.created("k2", &[("A1", 1)]).await;
    shop.till.cut_off(false);
    // Nobody asks again: recovery brings the payment to its end.
    shop.eventually_state(&id, "expired").await;
    let told = shop.pay(&id, "p1", "tok_ok").await;
    assert_eq!((told.status, told.slug()), (410, "reservation-expired"));
    let books = shop.till.books();
    assert_eq!(
        (
            books.authorised.len(),
            books.voided.len(),
            books.captured.len()
        ),
        (1, 1, 0)
    );
    assert_eq!(
        shop.pay(&other, "p2", "tok_ok").await.expect(200)["state"],
        "paid"
    );
    assert_eq!(shop.stock("A1").await, [2, 0, 2, 1]);
}
