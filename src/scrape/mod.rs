//! Scraping: pools of targets, the schedule, the workers, and what happens in one scrape.
