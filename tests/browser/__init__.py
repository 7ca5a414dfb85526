"""Tests in a real front end. A package, so that pytest closes the browser before it begins with other tests."""
