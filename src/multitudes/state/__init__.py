"""What each user did and follows since a release was published: fresh, durable, erased on request."""
