"""What a service of some size needs: unit costs that were measured, and what follows from them. No data is read."""
