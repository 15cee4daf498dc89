//! What is bought with money, and what becomes of its credits when the money goes back: pure rules over what the payment
//! service says, in whatever order it says it.
//!
//! A charge's refunds and disputes are kept as a set, each with the furthest standing that was ever told of it. What is to be
//! taken back follows from the set alone, so that order and repetition can't matter, and a refund and a dispute of one charge
//! take its credits once.

use crate::ids::{AccountId, JobId, OrderId};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an order asks to be paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "buys")]
pub enum Buys {
    /// A pack of credits, by its id in the price list.
    Pack { pack: String, millicredits: i64 },
    /// A plan: each payment grants its credits.
    Plan { plan: String, millicredits: i64 },
    /// One job of a guest: the payment covers its quote.
    Job { job_id: JobId, millicredits: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Not paid yet.
    Open,
    Paid,
    /// A plan was begun by it; each of its invoices is paid for itself.
    Begun,
    /// Its checkout expired or its payment failed for good.
    Expired,
    /// What was paid was not what was asked; nothing was credited, an operator looks at it.
    Mismatch,
}

/// Something asked to be paid, with what it cost when it was asked: the price list may change before it is paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub v: u32,
    pub order_id: OrderId,
    pub account_id: AccountId,
    #[serde(flatten)]
    pub buys: Buys,
    /// In the currency's smallest unit.
    pub amount: i64,
    pub currency: String,
    pub state: OrderState,
    pub created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Millis>,
    /// The payment service's names: of the checkout, of the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// What a guest's order needs until it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// Present until a guest's order is forgotten: its shard of the owed index, and when it is looked at next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
    /// Seconds since 1970; only of a guest's order that nobody has paid, and only sweeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// A guest's order: the job that starts when it is paid, and where its result goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Where the link to the result is mailed.
    pub email: String,
    /// The job as it will be submitted, as JSON text.
    pub job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

/// How a guest's order came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The result is there and its link was mailed.
    Delivered,
    /// The job came to nothing; the money goes back.
    Refunded,
    /// It was never paid.
    Abandoned,
}

/// How far a refund or a dispute has come. Later ones win over earlier ones, whatever the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The money is on its way back, or is argued about.
    Pending,
    /// The money is back with the payer.
    Gone,
    /// It came to nothing: the refund failed, the dispute was won. The money is ours after all.
    Kept,
}

/// One refund or dispute of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// In the currency's smallest unit.
    pub amount: i64,
    pub standing: Standing,
}

/// Most refunds and disputes of one payment that are kept; the payment service itself takes fewer.
pub const MAX_CLAIMS: usize = 100;

/// A payment whose credits were given, and what has been taken back of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    pub v: u32,
    pub account_id: AccountId,
    pub order_id: Option<OrderId>,
    /// The ledger's cause of the purchase: the order, or the plan.
    pub cause: String,
    /// The business object that was credited: a checkout session or an invoice.
    pub object: String,
    pub millicredits: i64,
    pub amount: i64,
    pub currency: String,
    pub paid_at: Millis,
    /// Refunds and disputes by their id.
    #[serde(default)]
    pub claims: BTreeMap<String, Claim>,
    /// Millicredits taken back so far, debt included.
    #[serde(default)]
    pub taken: i64,
    /// Rises with every write.
    pub seq: u64,
}

impl Payment {
    /// Adds what is told of a refund or dispute; `false` when that was known.
    pub fn learn(&mut self, id: &str, told: Claim) -> bool {
        if self.claims.len() >= MAX_CLAIMS && !self.claims.contains_key(id) {
            return false;
        }
        let known = self.claims.entry(id.to_owned()).or_insert(Claim { amount: 0, standing: Standing::Pending });
        let before = *known;
        known.amount = known.amount.max(told.amount);
        known.standing = known.standing.max(told.standing);
        *known != before
    }

    /// How many of its credits are to be gone, by all that is known: in proportion to the money, rounded up, all of them at most.
    pub fn to_take(&self) -> i64 {
        if self.millicredits <= 0 {
            return 0;
        }
        let back: i64 = self.claims.values().filter(|claim| claim.standing != Standing::Kept).map(|claim| claim.amount).sum();
        if self.amount <= 0 {
            return 0;
        }
        let back = i128::from(back.clamp(0, self.amount));
        let credits = i128::from(self.millicredits);
        ((credits * back + i128::from(self.amount) - 1) / i128::from(self.amount)) as i64
    }
}

/// One line of an invoice that is for a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    pub plan: String,
    /// Negative for the unused time of a plan that was left.
    pub amount: i64,
    pub prorated: bool,
    /// What the plan costs and grants by the price that this line is billed at, where that price says so: subscriptions that run keep the
    /// price that they were begun at, whatever the list says today.
    pub sold: Option<SoldPlan>,
}

/// Most millicredits that one period of a plan grants.
pub const MAX_PLAN: i64 = 1_000_000_000_000;

/// A plan as it was sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoldPlan {
    /// In the currency's smallest unit.
    pub amount: i64,
    pub millicredits: i64,
}

/// What an invoice's lines grant: each in proportion to its money, so that changing plans to and fro gains nothing. Negative where more
/// time was given back than taken: its money stays with the payment service for the next invoices, and its credits go back. The error
/// says what does not agree with the price list.
pub fn invoice_credits(prices: &crate::prices::Prices, currency: &str, lines: &[PlanLine]) -> Result<i64, String> {
    let mut millicredits = 0i128;
    for line in lines {
        let id = &line.plan;
        let SoldPlan { amount: price, millicredits: grants } = match line.sold {
            Some(sold) if sold.amount > 0 && (0..=MAX_PLAN).contains(&sold.millicredits) => sold,
            Some(sold) => return Err(format!("the price of plan {id:.64?} is no price of ours: {} {currency:.8?} for {}", sold.amount, sold.millicredits)),
            None => {
                let plan = prices.plan(id).ok_or_else(|| format!("the price list has no plan {id:.64?}"))?;
                let amount = *plan.prices.get(currency).ok_or_else(|| format!("plan {id} has no price in {currency:.8?}"))?;
                SoldPlan { amount, millicredits: plan.millicredits }
            }
        };
        if !line.prorated && line.amount != price {
            return Err(format!("plan {id} costs {price} {currency}, the invoice says {}", line.amount));
        }
        if line.prorated && line.amount.abs() > price {
            return Err(format!("a part of plan {id} costs {} {currency}, which is above its whole price", line.amount));
        }
        // Towards less: a part's credits are never rounded to the customer's gain.
        millicredits += (i128::from(grants) * i128::from(line.amount)).div_euclid(i128::from(price));
    }
    i64::try_from(millicredits).map_err(|_| "more credits than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::Prices;

    fn payment() -> Payment {
        Payment {
            v: 1,
            account_id: AccountId::new(1, 1),
            order_id: None,
            cause: "ord".into(),
            object: "cs_1".into(),
            millicredits: 10_000,
            amount: 300,
            currency: "inr".into(),
            paid_at: 1,
            claims: BTreeMap::new(),
            taken: 0,
            seq: 1,
        }
    }

    fn claim(amount: i64, standing: Standing) -> Claim {
        Claim { amount, standing }
    }

    #[test]
    fn a_refund_and_a_dispute_of_one_charge_take_back_once() {
        let mut paid = payment();
        assert!(paid.learn("re_1", claim(300, Standing::Gone)));
        assert!(paid.learn("dp_1", claim(300, Standing::Pending)));
        assert_eq!(paid.to_take(), 10_000);
        // The dispute is won: the refund still has the money.
        assert!(paid.learn("dp_1", claim(300, Standing::Kept)));
        assert_eq!(paid.to_take(), 10_000);
        assert!(paid.learn("re_1", claim(300, Standing::Kept)));
        assert_eq!(paid.to_take(), 0);
    }

    #[test]
    fn a_line_grants_what_its_price_was_sold_with_whatever_the_list_says_now() {
        let prices = Prices::shipped();
        let line = |amount, prorated, sold| PlanLine { plan: "gone from the list".into(), amount, prorated, sold };
        let sold = Some(SoldPlan { amount: 40_000, millicredits: 100_000 });
        assert_eq!(invoice_credits(&prices, "inr", &[line(40_000, false, sold)]), Ok(100_000));
        assert_eq!(invoice_credits(&prices, "inr", &[line(10_000, true, sold)]), Ok(25_000));
        // Another amount than that price's is nobody's.
        assert!(invoice_credits(&prices, "inr", &[line(39_999, false, sold)]).unwrap_err().contains("costs 40000"));
        assert!(invoice_credits(&prices, "inr", &[line(40_001, true, sold)]).is_err());
        assert!(invoice_credits(&prices, "inr", &[line(40_000, false, None)]).unwrap_err().contains("no plan"));
        for odd in [SoldPlan { amount: 0, millicredits: 1 }, SoldPlan { amount: 40_000, millicredits: -1 }, SoldPlan { amount: 1, millicredits: MAX_PLAN + 1 }]
        {
            assert!(invoice_credits(&prices, "inr", &[line(odd.amount, false, Some(odd))]).unwrap_err().contains("no price of ours"), "{odd:?}");
        }
    }

    #[test]
    fn parts_round_up_and_never_exceed_the_purchase() {
        let mut paid = payment();
        paid.learn("re_1", claim(100, Standing::Gone));
        assert_eq!(paid.to_take(), 3334);
        paid.learn("re_2", claim(200, Standing::Gone));
        assert_eq!(paid.to_take(), 10_000);
        paid.learn("re_3", claim(i64::MAX / 2, Standing::Gone));
        assert_eq!(paid.to_take(), 10_000);
    }

    #[test]
    fn in_any_order_and_told_twice_the_same_is_taken() {
        let told = [
            ("re_1", claim(100, Standing::Pending)),
            ("re_1", claim(100, Standing::Kept)),
            ("dp_1", claim(50, Standing::Pending)),
            ("dp_1", claim(50, Standing::Gone)),
        ];
        let mut orders = vec![vec![0, 1, 2, 3], vec![3, 2, 1, 0], vec![1, 0, 3, 2, 1, 0], vec![2, 0, 3, 1, 3]];
        orders.push(vec![1, 3, 0, 2]);
        for order in orders {
            let mut paid = payment();
            for i in order {
                paid.learn(told[i].0, told[i].1);
            }
            assert_eq!(paid.to_take(), 1667);
            assert!(!paid.learn(told[1].0, told[1].1));
        }
    }

    #[test]
    fn an_invoice_grants_in_proportion_to_its_money() {
        let prices = Prices::shipped();
        let line = |plan: &str, amount, prorated| PlanLine { plan: plan.into(), amount, prorated, sold: None };
        assert_eq!(invoice_credits(&prices, "inr", &[line("maker", 50_000, false)]), Ok(120_000));
        // Up half-way through the month: half of the old plan back, half of the new one.
        assert_eq!(invoice_credits(&prices, "inr", &[line("maker", -25_000, true), line("team", 125_000, true)]), Ok(375_000 - 60_000));
        // Up and down within a minute gains nothing.
        let fro = [line("team", 250_000, true), line("maker", -50_000, true), line("team", -250_000, true), line("maker", 50_000, true)];
        assert_eq!(invoice_credits(&prices, "inr", &fro), Ok(0));
        let down = [line("team", -250_000, true), line("maker", 50_000, true)];
        assert_eq!(invoice_credits(&prices, "inr", &down), Ok(120_000 - 750_000));
        assert!(invoice_credits(&prices, "inr", &[line("maker", 1, false)]).unwrap_err().contains("maker costs 50000"));
        assert!(invoice_credits(&prices, "inr", &[line("maker", 50_001, true)]).is_err());
        assert!(invoice_credits(&prices, "gbp", &[line("maker", 50_000, false)]).unwrap_err().contains("gbp"));
        assert!(invoice_credits(&prices, "inr", &[line("gold", 1, false)]).unwrap_err().contains("gold"));
    }
}
