//! How many machines the jobs that are expected need: Erlang's formula for a queue with many servers (A. K. Erlang, 1917; Gross and others,
//! Fundamentals of Queueing Theory, chapter 3), which takes arrivals as random and service times as exponential.

/// Of jobs, the share that may start too late.
pub const LATE: f64 = 0.01;

/// The probability that an arriving job has to wait, with `load` machines' worth of work on `machines`; 1 where they can't keep up.
pub fn erlang_c(load: f64, machines: u32) -> f64 {
    if machines == 0 || load >= f64::from(machines) {
        return 1.0;
    }
    // Erlang's B by its recursion, which overflows nowhere; then C of it.
    let mut blocked = 1.0;
    for n in 1..=machines {
        blocked = load * blocked / (f64::from(n) + load * blocked);
    }
    let free = 1.0 - load / f64::from(machines);
    blocked / (blocked + (1.0 - blocked) * free)
}

/// The fewest machines with which no more than [`LATE`] of the jobs wait longer than `within_s`, `most` at most. `rate` in jobs a second.
pub fn machines_for(rate: f64, service_s: f64, within_s: f64, most: u32) -> u32 {
    if rate <= 0.0 || service_s <= 0.0 {
        return 0;
    }
    let load = rate * service_s;
    (1..=most).find(|n| erlang_c(load, *n) * (-(f64::from(*n) - load) * within_s / service_s).exp() <= LATE).unwrap_or(most)
}

/// Machines to keep for a load, where one that is rented as soon as a job waits comes in time for most: the load, and a spare where they are few
/// (of many, one is soon free). Tuned in `tests/simulator`.
pub fn machines_beside_rentals(load: f64) -> u32 {
    if load <= 0.0 { 0 } else { (load + (1.0 / load).min(1.0)).round() as u32 }
}

/// Machines to keep for a load, those that run and those that are stopped together, where a stopped one is soon there: the load, and three
/// deviations of what chance makes of it (with machines enough, those at work are a Poisson count). None for next to no load.
pub fn machines_kept(load: f64) -> u32 {
    if load <= NEXT_TO_NOTHING { 0 } else { (load + 3.0 * load.sqrt()).ceil() as u32 }
}

/// Of a machine: two or three jobs an hour are no reason to keep one.
const NEXT_TO_NOTHING: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erlang_s_formula_gives_what_its_tables_give() {
        // With one machine it is the load itself; 2 machines and a load of 1: 1/3; 10 and 8: 0.409 (published tables).
        assert!((erlang_c(0.5, 1) - 0.5).abs() < 1e-12);
        assert!((erlang_c(1.0, 2) - 1.0 / 3.0).abs() < 1e-12);
        assert!((erlang_c(8.0, 10) - 0.409).abs() < 5e-4);
        assert_eq!(erlang_c(3.0, 3), 1.0);
        assert_eq!(erlang_c(0.0, 0), 1.0);
    }

    #[test]
    fn beside_rentals_a_spare_is_kept_where_machines_are_few() {
        assert_eq!([0.0, 0.2, 1.0, 5.0, 20.0].map(machines_beside_rentals), [0, 1, 2, 5, 20]);
    }

    #[test]
    fn what_is_kept_holds_the_load_and_its_chance() {
        assert_eq!([0.0, 0.02, 0.03, 1.0, 5.0, 20.0].map(machines_kept), [0, 0, 1, 4, 12, 34]);
    }

    #[test]
    fn more_jobs_slower_jobs_and_less_patience_never_need_fewer_machines() {
        for i in 1..40 {
            let (rate, service, within) = (f64::from(i) * 0.05, 10.0 + f64::from(i), f64::from(i) * 5.0);
            let now = machines_for(rate, service, within, 100);
            assert!(now <= machines_for(rate * 1.2, service, within, 100) && now <= machines_for(rate, service, within * 0.8, 100), "{i}");
            assert!(f64::from(now) > rate * service || now == 100, "{i}");
        }
        assert_eq!(machines_for(0.0, 30.0, 60.0, 100), 0);
        assert_eq!(machines_for(1e9, 30.0, 60.0, 100), 100);
    }
}
