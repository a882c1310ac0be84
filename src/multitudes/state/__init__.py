"""What each user did since a release was published, and what they follow: fresh, durable, forgotten on request."""
