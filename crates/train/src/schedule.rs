//! The learning rate: nanoGPT's linear rise, then half a cosine down to the least.

use crate::config::TrainingConfig;

/// Learning rate by update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest.
    pub highest: f64,
    /// The lowest, after the decay.
    pub lowest: f64,
    /// Updates in which it rises.
    pub warmup: u64,
    /// Update from which it is lowest.
    pub decay: u64,
}

impl Schedule {
    /// That of a configuration.
    pub fn new(config: &TrainingConfig) -> Schedule {
        Schedule {
            highest: config.learning_rate,
            lowest: config.min_learning_rate.unwrap_or(config.learning_rate / 10.0),
            warmup: config.warmup,
            decay: config.decay_steps.unwrap_or(config.steps),
        }
    }

    /// The rate of an update, counted from 0: `highest (step + 1) / (warmup + 1)` while it rises, then
    /// `lowest + (highest - lowest) (1 + cos(pi x)) / 2`, `x` going from 0 to 1 between warm-up and decay.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.highest * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        if step >= self.decay {
            return self.lowest;
        }
        let x = (step - self.warmup) as f64 / (self.decay - self.warmup) as f64;
        self.lowest + (self.highest - self.lowest) * 0.5 * (1.0 + (std::f64::consts::PI * x).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_in_a_line_falls_in_a_cosine_and_stays_low() {
        let schedule = Schedule { highest: 1.0, lowest: 0.1, warmup: 4, decay: 104 };
        let rates: Vec<f64> = [0, 1, 3, 4, 54, 104, 1000].map(|step| schedule.at(step)).into();
        // After warm-up: (1 + cos 0) / 2 = 1 and (1 + cos(pi / 2)) / 2 = 1/2 of the way from 0.1 to 1.
        for (rate, expected) in rates.iter().zip([0.2, 0.4, 0.8, 1.0, 0.55, 0.1, 0.1]) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn no_warm_up_and_no_decay_are_possible() {
        let schedule = Schedule { highest: 1.0, lowest: 1.0, warmup: 0, decay: 0 };
        assert_eq!([schedule.at(0), schedule.at(7)], [1.0, 1.0]);
    }
}
